"""What people change afterwards: tags, notes, the trash; by any number of them, and never in the run's own document."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from logferry import edits
from logferry.cli import main
from logferry_agent import trash
from logferry_collector.store import open_url
from support.collecting import SAMPLE, Place


@pytest.fixture
def place(home: Path, node_dir: Path, place: Place) -> Place:
    return place


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    return out + err


def test_tags_and_notes_are_what_the_run_has_and_what_people_add(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    document = place.write("exp042/r1.json", SAMPLE | {"tags": ["old", "kept"]})
    before = document.read_bytes()
    text = said(capsys, "tag", "r1", "+baseline", "-old", "-never there")
    assert text == "exp042/r1  tags: kept, baseline  Baseline experiment for reproducibility.\n"
    said(capsys, "note", "r1", "used", "in figure 3")
    (run,) = json.loads(
        said(capsys, "results", "tags has baseline and not tags has old and notes ~ 'figure 3$'", "--json")
    )
    assert run["tags"] == ["kept", "baseline"]
    assert run["notes"] == "Baseline experiment for reproducibility.\nused in figure 3"
    said(capsys, "note", "r1", "")
    assert json.loads(said(capsys, "show", "r1", "--json"))["result"]["notes"] == SAMPLE["notes"]
    assert document.read_bytes() == before


def test_a_removed_run_is_nowhere_until_it_is_restored(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append("e/all.jsonl", {"run_id": "a"}, {"run_id": "b"})
    assert said(capsys, "rm", "a") == "e/a is in the trash; --restore takes it out\n"
    assert [run["run_id"] for run in json.loads(said(capsys, "runs", "--json"))] == ["b"]
    place.append("e/all.jsonl", {"run_id": "a", "revision": 5})  # its file changes: it stays away
    assert [run["run_id"] for run in json.loads(said(capsys, "runs", "--json"))] == ["b"]
    assert "no run 'a'" in said(capsys, "show", "a", code=1)
    assert json.loads(said(capsys, "rm", "--list", "--json")) == [{"experiment_id": "e", "run_id": "a"}]
    said(capsys, "rm", "--restore", "a")
    assert [run["run_id"] for run in json.loads(said(capsys, "runs", "--json"))] == ["a", "b"]
    assert "no run 'a' in the trash" in said(capsys, "rm", "--restore", "a", code=1)


def test_a_condition_says_which_runs_are_tagged_or_removed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"run_id": f"r{number}", "acc": number / 4} for number in range(4)]
    place.append("e/all.jsonl", *rows)
    said(capsys, "tag", "--where", "acc > 0.4", "+good")
    assert "r2" in said(capsys, "rm", "--where", "tags has good", code=1)
    assert len(json.loads(said(capsys, "runs", "--json"))) == 4
    assert said(capsys, "rm", "--where", "tags has good", code=1).endswith(
        "2 runs would go into the trash; --yes puts them there\n"
    )
    said(capsys, "rm", "--where", "tags has good", "--yes")
    assert [run["run_id"] for run in json.loads(said(capsys, "runs", "--json"))] == ["r0", "r1"]
    assert "no results match" in said(capsys, "rm", "--where", "acc > 0.4", "--yes", code=1)
    place.write("e/on.json", {"status": "RUNNING"})
    assert "on is still RUNNING" in said(capsys, "rm", "--where", "status = RUNNING", "--yes", code=2)
    for wrong in (["rm"], ["rm", "r0", "--where", "acc = 0"], ["tag", "+x"], ["rm", "--where", "acc = 0", "--restore"]):
        said(capsys, *wrong, code=2)


def test_prune_empties_the_trash_and_nothing_else(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("gone", "stays"):
        place.write(f"e/{run}.json", {"status": "COMPLETED"})
        place.write(f"e/{run}.part-abc.json", {"metrics": {"x": 1}})
        log = place.home.run_logs("e", run) / "host.jsonl"
        log.parent.mkdir(parents=True)
        log.write_text("{}\n")
    place.append("e/all.jsonl", {"run_id": "row"})
    said(capsys, "tag", "stays", "+good")
    said(capsys, "rm", "gone", "row")
    assert "3 files removed" in said(capsys, "prune")
    there = {path.name for path in (place.home.path / "results" / "e").iterdir() if edits.MARK not in path.name}
    assert there == {"stays.json", "stays.part-abc.json", "all.jsonl"}
    assert [path.name for path in (place.home.logs / "e").iterdir()] == ["stays"]
    assert [run["run_id"] for run in json.loads(said(capsys, "runs", "--json"))] == ["stays"]
    rebuilt = Place(place.home.path.parent, open_url(str(place.home.path / "again.db")))
    rebuilt.collect()
    assert (rebuilt.ids(), rebuilt.documents()[0]["tags"]) == (["stays"], ["good"])
    rebuilt.store.close()


def test_a_removed_run_that_runs_again_is_not_deleted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    result = place.write("e/again.json", {"status": "COMPLETED"})
    log = place.home.run_logs("e", "again") / "host.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("{}\n")
    said(capsys, "rm", "again")
    place.write("e/again.json", {"status": "RUNNING", "attempt": 2})
    assert "it runs again" in said(capsys, "prune", code=1)
    assert result.exists()
    assert log.exists()


def test_what_is_taken_out_of_the_trash_while_it_is_emptied_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("a", "b"):
        place.write(f"e/{run}.json", {"status": "COMPLETED"})
        edits.write(place.home, "e", run, {"removed": True})
    listed = list(edits.trash(place.home))
    edits.write(place.home, "e", "b", {"removed": False})
    monkeypatch.setattr(edits, "trash", lambda _: listed)
    gone, failed = trash.empty(place.home)
    assert ([Path(path).name for path in gone], failed) == (["a.json"], {})
    assert (place.home.results / "e" / "b.json").exists()


def test_a_running_run_is_not_removed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("e/r.json", {"status": "RUNNING", "host": "h"})
    (place.home.agents).mkdir(parents=True)
    (place.home.agents / "h").touch()
    assert "is still RUNNING; end it first" in said(capsys, "rm", "r", code=2)


def test_edits_of_many_at_once_all_hold(each_place: Place) -> None:
    each_place.write("e/r.json", {"tags": ["own"]})
    each_place.collect()

    def edit(number: int) -> None:
        edits.write(each_place.home, "e", "r", {"tags": {f"t{number}": True}, "note": f"n{number}"})

    people = [threading.Thread(target=edit, args=[number]) for number in range(12)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    each_place.collect()
    (run,) = each_place.documents("tags has t3 and tags has own")
    assert sorted(run["tags"]) == sorted(["own", *(f"t{number}" for number in range(12))])
    assert sorted(run["notes"].splitlines()) == sorted(f"n{number}" for number in range(12))
    edits.write(each_place.home, "e", "r", {"removed": True})
    edits.write(each_place.home, "e", "alone", {"tags": {"x": True}})
    each_place.collect()
    assert each_place.ids() == []
    edits.write(each_place.home, "e", "r", {"removed": False})
    each_place.collect()
    assert each_place.ids("tags has t11") == ["r"]


@pytest.mark.parametrize(
    "edit",
    [{}, {"edit": 1}, {"edit": {"tags": {"x": 1}}}, {"edit": {"note": 1}}, {"edit": {"removed": "yes"}}, {"edit": {}}],
    ids=str,
)
def test_an_edit_that_is_none_is_refused(place: Place, edit: dict[str, object]) -> None:
    place.write("e/r.json", {})
    place.write("e/r.part-edit-x.json", edit)
    place.collect()
    assert place.faults() == [("r.part-edit-x.json", 0, "invalid")]
    assert place.ids() == ["r"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "r"], "which tags? +TAG puts one there"),
        (["rm"], "name runs, say which with --where, or ask for --list"),
        (["rm", "r", "--list"], "name runs, say which with --where, or ask for --list"),
    ],
)
def test_an_edit_of_nothing_is_an_error(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    place.write("e/r.json", {})
    assert message in said(capsys, *arguments, code=2)


def test_the_last_word_on_a_tag_holds() -> None:
    made = [
        {"timestamp": f"2025-01-01T00:00:0{second}Z", "edit": edit}
        for second, edit in enumerate(
            [{"tags": {"a": True, "b": True}}, {"tags": {"a": False}, "note": "x"}, {"note": ""}, {"note": "y"}]
        )
    ]
    for order in (made, made[::-1]):
        found = edits.merged(order)
        assert found.applied({"tags": ["a", "c"], "notes": ""}) == {"tags": ["c", "b"], "notes": "y"}


def test_a_new_run_of_a_pruned_ones_id_is_shown_without_what_was_the_old_ones(each_place: Place) -> None:
    place = each_place
    for run in ("again", "later"):
        place.write(f"e/{run}.json", {"status": "COMPLETED"})
        place.write(f"e/{run}.part-abc.json", {"metrics": {"old": 1}})
        edits.write(place.home, "e", run, {"tags": {"old": True}, "removed": True})
    place.collect()
    assert place.ids() == []
    place.write("e/later.json", {"status": "COMPLETED", "metrics": {"changed": 1}})
    place.collect()
    assert place.ids() == []  # its marks are there
    assert trash.empty(place.home)[1] == {}
    place.collect()
    assert place.ids() == []
    place.write("e/again.json", {"status": "RUNNING", "metrics": {"new": 1}})
    place.collect()
    (document,) = place.documents()
    assert (document["run_id"], document["metrics"], document.get("tags")) == ("again", {"new": 1}, None)
    edits.write(place.home, "e", "again", {"removed": True})
    place.restart()
    place.collect()
    assert place.ids() == []
