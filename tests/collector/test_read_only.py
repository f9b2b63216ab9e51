"""An SQLite store answers who may only read it: beside its writer, and when that is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from logferry_collector.store import StoreDownError
from support.collecting import Place

# The first store is asked before other rights are taken on: a module may lie where the other user may not read.
ASK = """
import os, sys
from pathlib import Path
from logferry.layout import Home
from logferry_collector.query import Reader
from logferry_collector.store import StoreError, open_url

def ask(path):
    store = open_url(path)
    reader = Reader(store, Home(Path(path).parent))
    found = [one["run_id"] for one in reader.results("lr = 3", sort="acc", desc=True, limit=2)]
    groups = len(reader.results().group("lr", metrics=["acc"]))
    counted = next(store.ask("SELECT count(*) FROM results")[1])[0]
    if len(sys.argv) > 3:
        print(flush=True)
        sys.stdin.readline()
        found = [one["run_id"] for one in reader.results("lr = 3", sort="acc", desc=True, limit=2)]
    store.close()
    return found, groups, counted

wait, sys.argv[3:] = sys.argv[3:], []
ask(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
sys.argv[3:] = wait
try:
    print(*ask(sys.argv[2]))
except StoreError as error:
    print(error)
"""


@pytest.fixture
def closed(root: Path, place: Place) -> Place:
    """A store in a directory where nobody but the owner may write."""
    root.chmod(0o755)
    place.append(
        "e/r.jsonl", *({"run_id": f"r{n:04}", "config": {"lr": n % 7}, "metrics": {"acc": n}} for n in range(2_100))
    )
    place.collect()
    for path in (place.home.path, place.home.store.parent):
        path.chmod(0o755)
    for path in place.home.store.parent.iterdir():
        path.chmod(0o644)
    return place


def command(place: Place, root: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", ASK, str(root / "warm.db"), str(place.home.store), *more]


def asked(place: Place, root: Path) -> str:
    warm = Place(root / "warm")
    warm.append("e/r.jsonl", {"config": {"lr": 3}, "metrics": {"acc": 1}})
    warm.collect()
    warm.store.close()
    (warm.home.store).rename(root / "warm.db")
    return subprocess.run(command(place, root), check=True, capture_output=True, text=True, timeout=60).stdout


ANSWER = "['r2096', 'r2089'] 7 2100\n"


def test_a_store_beside_its_writer_is_read(closed: Place, root: Path) -> None:
    assert asked(closed, root) == ANSWER


def test_a_store_whose_writer_is_gone_is_read_where_nobody_may_write(closed: Place, root: Path) -> None:
    closed.store.close()
    closed.home.store.parent.chmod(0o555)
    assert asked(closed, root) == ANSWER
    closed.home.store.parent.chmod(0o755)


@pytest.mark.parametrize("while_it_writes", [True, False])
def test_who_reads_what_lies_still_sees_what_was_written_since(
    closed: Place, root: Path, *, while_it_writes: bool
) -> None:
    closed.store.close()
    closed.home.store.parent.chmod(0o555)
    asked(closed, root)
    with subprocess.Popen(
        command(closed, root, "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "\n"
        closed.home.store.parent.chmod(0o755)
        writer = Place(root)
        writer.append("e/r.jsonl", {"run_id": "new", "config": {"lr": 3}, "metrics": {"acc": 9_000}})
        writer.collect()
        if not while_it_writes:
            writer.store.close()
            closed.home.store.parent.chmod(0o555)
        said, _ = other.communicate("\n", timeout=60)
        writer.store.close()
    closed.home.store.parent.chmod(0o755)
    assert said == "['new', 'r2096'] 7 2100\n"


def test_an_answer_during_which_something_was_written_is_none(closed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    database = closed.store.database  # type: ignore[attr-defined]
    monkeypatch.setattr(database, "_still", database.path.stat())  # of a file beside which there is a log now
    monkeypatch.setattr(database, "_see_what_lies_there", lambda: None)
    with pytest.raises(StoreDownError, match="was written to while it was read; ask again"):
        closed.store.counts()
