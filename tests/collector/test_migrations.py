"""A store that an earlier version wrote comes up as if it had been written now; a later one is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logferry_collector.store import StoreRefusedError, open_url, postgres
from logferry_collector.store.sqlite_schema import STEPS
from logferry_collector.where import Key, Literal, OneOf, Query
from support.collecting import Place
from support.postgres import shared

# What a store of version 1 held, as that version wrote it.
WRITTEN_BY_1 = """
INSERT INTO file VALUES (1, '/h/results/e/a.json', 2, 1, 2, 3, 4, 5, 9, x'6d', 1);
INSERT INTO file VALUES (2, '/h/results/e/a.part-p.json', 1, 1, 3, 3, 4, 5, 9, x'6d', 1);
INSERT INTO candidate VALUES (1, 1, 1, 'e', 'a', 0, 3, 4, '{"experiment_id":"e","run_id":"a","status":"FAILED",'
    || '"model":"M","config":{"lr":0.1,"flag":true},"metrics":{"x":1},"notes":"\\ud800","tags":["t"]}');
INSERT INTO candidate VALUES (2, 2, 1, 'e', 'a', 1, 0, 4, '{"experiment_id":"e","run_id":"a","metrics":{"y":"NaN"}}');
INSERT INTO result VALUES ('e', 'a', 1, 'FAILED', 'h', 4, '{"lr":0.1,"flag":true}', '{"x":1,"y":"NaN"}');
INSERT INTO reject VALUES (1, 7, 'invalid', 'why');
INSERT INTO key VALUES ('config', 'lr', '["lr"]'), ('config', 'flag', '["flag"]'), ('metrics', 'x', '["x"]');
"""


def old_store(path: Path, version: int) -> None:
    """Write a store as a version left it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for step in STEPS[:version]:
            for statement in step:
                connection.execute(statement)
        if version == 1:
            connection.executescript(WRITTEN_BY_1)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def test_the_store_of_version_1_is_brought_up_with_all_that_it_had(root: Path) -> None:
    old_store(root / "old.db", 1)
    store = open_url(str(root / "old.db"))
    (found,) = store.documents(Query())
    assert found["metrics"] == {"x": 1, "y": "NaN"}
    assert (found["config"], found["notes"], found["tags"]) == ({"lr": 0.1, "flag": True}, "\ud800", ["t"])
    for key, value in ((Key("field", ("model",)), "M"), (Key("config", ("lr",)), 0.1), (Key("field", ("host",)), "h")):
        assert store.count(Query(OneOf(key, (Literal(value, str(value)),)))) == 1
    assert store.files(["/h/results/e/a.json"])["/h/results/e/a.json"].version == 2
    assert [(path, reject.line) for path, reject in store.rejects()] == [("/h/results/e/a.json", 7)]
    columns, rows = store.ask("SELECT key, value, text FROM metrics ORDER BY key")
    assert (columns, list(rows)) == (["key", "value", "text"], [("x", 1, "1"), ("y", None, "NaN")])
    store.close()


@pytest.mark.parametrize("version", range(len(STEPS) + 1))
def test_every_version_ends_with_the_tables_of_the_present_one(root: Path, version: int) -> None:
    old_store(root / "old.db", version)
    open_url(str(root / "old.db")).close()
    open_url(str(root / "new.db")).close()
    old, new = (_schema(root / name) for name in ("old.db", "new.db"))
    assert old == new


def _schema(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return found


def test_eight_processes_bring_an_old_store_up_at_once(root: Path) -> None:
    old_store(root / "old.db", 1)
    script = (
        "import sys, time; from logferry_collector.store import open_url\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "store = open_url(sys.argv[1]); print(store.counts()); store.close()"
    )
    arguments = [sys.executable, "-c", script, str(root / "old.db"), str(time.time() + 0.8)]
    started = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert [(process.communicate(timeout=60)[0], process.returncode) for process in started] == [("(1, 1)\n", 0)] * 8


def test_a_server_s_store_takes_the_steps_it_lacks_all_or_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(root, open_url(url := shared().fresh_url()))
    place.write("e/r.json", {"metrics": {"x": 1}})
    place.collect()
    place.store.close()
    added = "ALTER TABLE file ADD COLUMN seen BIGINT NOT NULL DEFAULT 7"
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'file' AND column_name = 'seen'"
    here = f"{columns} AND table_schema = current_schema()"

    released = postgres.STEPS
    monkeypatch.setattr(postgres, "STEPS", (*released, (added, "CREATE TABLE file (x BIGINT)")))
    with pytest.raises(StoreRefusedError):
        open_url(url)
    monkeypatch.setattr(postgres, "STEPS", released)
    store = open_url(url)
    assert list(store.ask(here)[1]) == [(0,)]
    store.close()

    monkeypatch.setattr(postgres, "STEPS", (*released, (added,)))
    for _ in range(2):  # the second finds nothing to do
        store = open_url(url)
        assert list(store.ask("SELECT version FROM logferry_version")[1]) == [(2,)]
        assert list(store.ask("SELECT seen FROM file")[1]) == [(7,)]
        assert [found["metrics"] for found in store.documents(Query())] == [{"x": 1}]
        store.close()
    monkeypatch.setattr(postgres, "STEPS", released)
    with pytest.raises(StoreRefusedError, match="later logferry"):
        open_url(url)
