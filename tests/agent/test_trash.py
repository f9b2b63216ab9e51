"""Emptying the trash: all of a removed run goes, also where the first attempt was cut short; nothing else does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from logferry import edits
from logferry.layout import Home
from logferry_agent import trash
from logferry_agent.fs import FileSystem

IDS = ["r", "r.gone", "[r]*?", "ü r"]


@pytest.fixture
def there(root: Path) -> Home:
    return Home(root / "home")


def run(home: Home, run_id: str, status: str = "COMPLETED", *, removed: bool = True) -> Path:
    """Make a run with everything that it may have; return its result."""
    result, log = home.result("e", run_id), home.run_logs("e", run_id) / "host.jsonl"
    for path in (result, home.result_part("e", run_id, "abcdefgh"), log):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"status": status}))
    if removed:
        for edit in ({"removed": True}, {"tags": {"x": True}}):
            edits.write(home, "e", run_id, edit)
    return result


def left(home: Home) -> set[str]:
    return {path.name for directory in (home.results / "e", home.logs / "e") for path in directory.iterdir()}


class Killed(BaseException):
    pass


def killed_at(point: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(passed: str) -> None:
        if passed == point:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trash, "passed", die)
        with pytest.raises(Killed):
            trash.empty(home)


@pytest.mark.parametrize("run_id", IDS)
@pytest.mark.parametrize("point", ["trash.bare", "trash.hidden", "trash.unmarked"])
def test_what_a_killed_one_began_is_finished(
    there: Home, run_id: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(there, run_id)
    killed_at(point, there, monkeypatch)
    assert left(there)
    gone, failed = trash.empty(there)
    assert (str(result) in gone, failed, left(there)) == (True, {}, set())
    assert trash.empty(there) == ([], {})


def test_a_kill_between_two_edits_leaves_a_run_that_is_still_gone(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run(there, "r")
    killed_at("trash.hidden", there, monkeypatch)
    first, _ = sorted(path for path in (there.results / "e").iterdir() if edits.MARK in path.name)
    first.unlink()  # the one that says that it was removed
    trash.empty(there)
    assert left(there) == set()


@pytest.mark.parametrize("point", ["trash.hidden", "trash.unmarked"])
def test_a_run_that_runs_again_after_the_kill_stays(there: Home, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(there, "r")
    killed_at(point, there, monkeypatch)
    again = run(there, "r", "RUNNING", removed=False)
    gone, failed = trash.empty(there)
    assert again.exists()
    assert (there.run_logs("e", "r") / "host.jsonl").exists()
    # While edits that hide it are there, somebody should be told that it runs.
    assert [path for path in gone if not path.endswith(".json")] == []
    assert failed == (
        {} if point == "trash.unmarked" else {"e/r": "it runs again; take it out with: logferry rm --restore"}
    )


def test_logs_that_cannot_be_deleted_keep_their_result(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(there, "r")

    def refuse(*_: Any) -> None:
        raise OSError(16, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        assert trash.empty(there) == ([], {"e/r": "Device or resource busy"})
    assert result.exists()
    assert list(edits.trash(there)) == [("e", "r")]
    trash.empty(there)
    assert left(there) == set()


@pytest.mark.parametrize("what", ["an edit", "the result"])
def test_a_run_of_which_something_cannot_be_read_stays(there: Home, what: str) -> None:
    """What cannot be read may say that it was taken out, or that it runs."""
    result = run(there, "r")
    path = there.result_part("e", "r", "edit-z") if what == "an edit" else result
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    before = left(there)
    gone, failed = trash.empty(there)
    assert (gone, list(failed), left(there)) == ([], ["e/r"], before)
    path.unlink()
    trash.empty(there)
    assert what == "the result" or left(there) == set()


def test_others_go_where_one_cannot(there: Home) -> None:
    stays, goes = run(there, "a"), run(there, "b")
    (there.results / "e" / ".a.gone").mkdir()
    gone, failed = trash.empty(there)
    assert (str(goes) in gone, "e/a" in failed) == (True, True)
    assert not goes.exists()
    assert stays.exists()


def test_tags_of_a_run_that_runs_again_outlive_what_is_finished(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run(there, "r")
    killed_at("trash.unmarked", there, monkeypatch)
    run(there, "r", removed=False)
    tag = edits.write(there, "e", "r", {"tags": {"new": True}})
    trash.empty(there)
    assert tag.exists()
    assert ".r.gone" not in left(there)


def test_a_link_in_place_of_the_logs_is_not_followed(there: Home, root: Path) -> None:
    result, logs = run(there, "r"), there.run_logs("e", "r")
    logs.rename(root / "elsewhere")
    logs.symlink_to(root / "elsewhere")
    _, failed = trash.empty(there)
    assert (failed, result.exists(), list(os.listdir(root / "elsewhere"))) == ({}, False, ["host.jsonl"])


def test_each_step_is_on_disk_before_the_next(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run(there, "r")
    synced: list[tuple[bool, bool, int]] = []

    def note(_: FileSystem, path: Path) -> None:
        names = os.listdir(path)
        synced.append((".r.gone" in names, "r.json" in names, sum(edits.MARK in name for name in names)))

    monkeypatch.setattr(FileSystem, "sync_directory", note)
    trash.empty(there)
    assert synced == [(True, False, 2), (True, False, 0)]


@pytest.mark.parametrize("run_id", [".", ".."])
def test_an_edit_of_a_name_that_leads_elsewhere_removes_nothing(there: Home, run_id: str) -> None:
    run(there, "r", removed=False)
    path = edits.write(there, "e", "r", {"removed": True})
    path.rename(path.with_name(path.name.replace("r", run_id, 1)))
    gone, failed = trash.empty(there)
    assert (gone, list(failed)) == ([], [f"e/{run_id}"])
    assert (there.run_logs("e", "r") / "host.jsonl").exists()
