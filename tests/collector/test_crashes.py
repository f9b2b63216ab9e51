"""Stopped between any two steps, started again: every row is there once and no file is skipped."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logferry_collector.store import open_url
from support.collecting import Place


def collect_and_die(root: str, at_statement: int) -> None:
    """Collect, and die before the given SQL statement."""
    place = Place(Path(root))
    seen = 0

    def count(_statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == at_statement:
            os._exit(9)

    place.store.database.connection.set_trace_callback(count)  # type: ignore[attr-defined]
    place.restart()
    place.collect()
    os._exit(0)


def test_a_collector_killed_before_any_statement_takes_in_everything_once(root: Path) -> None:
    place = Place(root)
    place.write("e/a.json", {"metrics": {"x": 1}})
    place.write("e/a.part-p.json", {"metrics": {"y": 2}})
    place.append("e/b.jsonl", {"run_id": "b1"}, "oops", {"run_id": "b2"})
    place.store.close()
    deaths = 0
    # A fork costs a tenth of a start; nothing but this test runs in this process.
    while (code := _forked(root, deaths + 1)) == 9:
        deaths += 1
    assert (code, deaths > 15) == (0, True)
    place = Place(root)
    place.collect()
    assert place.ids() == ["a", "b1", "b2"]
    assert place.documents("run_id = a")[0]["metrics"] == {"x": 1, "y": 2}
    assert place.faults() == [("b.jsonl", 2, "invalid")]
    place.store.close()


def _forked(root: Path, at_statement: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            collect_and_die(str(root), at_statement)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _collecting(root: Path, times: int) -> subprocess.Popen[bytes]:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from support.collecting import Place\n"
        "place = Place(Path(sys.argv[2]))\n"
        "for _ in range(int(sys.argv[3])): place.restart(); place.collect()\n"
        "place.store.close()"
    )
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen([sys.executable, "-c", script, tests, str(root), str(times)])


def test_two_collectors_at_once_take_in_every_row_once(root: Path) -> None:
    place = Place(root)
    place.append("e/all.jsonl", {"run_id": "first"})
    for number in range(100):
        place.write(f"e/r{number}.json", {"metrics": {"n": number}})
    others = [_collecting(root, 15) for _ in range(2)]
    for number in range(60):
        place.append("e/all.jsonl", {"run_id": f"line{number}", "metrics": {"n": number}})
        place.write(f"e/r{number}.json", {"metrics": {"n": number}, "status": "COMPLETED"})
    assert [other.wait(60) for other in others] == [0, 0]
    place.ahead_s += 1
    place.collect()
    assert len(place.ids()) == len(set(place.ids())) == 161
    assert len(place.documents("status = COMPLETED")) == 60
    assert place.faults() == []
    place.store.close()


def test_eight_processes_that_open_a_fresh_store_all_come_up(root: Path) -> None:
    script = (
        "import sys, time; from logferry_collector.store import open_url\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "store = open_url(sys.argv[1]); print(store.counts()); store.close()"
    )
    arguments = [sys.executable, "-c", script, str(root / "fresh.db"), str(time.time() + 0.8)]
    started = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert [(process.communicate(timeout=60)[0], process.returncode) for process in started] == [("(0, 0)\n", 0)] * 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_service_that_is_killed_under_load_skips_nothing(root: Path, number: signal.Signals) -> None:
    place = Place(root)
    for round_ in range(2):
        service = subprocess.Popen(
            COLLECTOR,
            env=os.environ | {"LOGFERRY_HOME": str(place.home.path), "LOGFERRY_NODE_DIR": str(root / "node")},
        )
        try:
            for file in range(40):
                place.write(f"e/{round_}-{file}.json", {"metrics": {"x": file}})
                place.append("e/all.jsonl", {"run_id": f"line-{round_}-{file}"})
                time.sleep(0.01)
        finally:
            service.send_signal(number)
            service.wait(30)
    place.collect()
    assert len(place.ids()) == len(set(place.ids())) == 160
    place.store.close()


COLLECTOR = (sys.executable, "-c", "import sys; from logferry.cli import main; sys.exit(main(['collector']))")


def test_a_store_of_a_later_version_is_refused_and_kept(root: Path) -> None:
    path = root / "later.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Exception, match=r"later logferry \(store version 99"):
        open_url(str(path))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()
