"""Result files that are dropped at once, beside a bare loop that reads, parses and inserts them; and looking again.

Both in processor time of one process, on files of 30 settings and 20 metrics.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from functools import cache

from ahead import scratch
from measure import Figure, interleaved, ratio

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.store import open_url
from logferry_collector.takein import TakeIn

_DOCUMENT = {
    "experiment_id": "sweep",
    "status": "COMPLETED",
    "config": {f"key_{number}": number for number in range(30)},
    "metrics": {f"metric_{number}": number / 7 for number in range(20)},
}


@cache
def prepare(dropped: int, known: int) -> tuple[Home, Home]:
    """Make a home with files that were just dropped, and one with files that are in its store."""
    new, old = Home(scratch()), Home(scratch())
    _drop(new, dropped)
    _drop(old, known)
    _take_in(old)
    return new, old


def figures(rounds: int, dropped: int, known: int) -> list[Figure]:
    new, old = prepare(dropped, known)
    try:
        both = interleaved(rounds, ours=lambda: _take_in(new), bare=lambda: _bare(new))
        taken = ratio(f"take-in of {dropped:,} result files, by a bare loop", both["ours"], both["bare"], at_most=2)
        return [taken, _rescan(old, known)]
    finally:
        for home in (new, old):
            shutil.rmtree(home.path)


def _drop(home: Home, count: int) -> None:
    text = json.dumps(_DOCUMENT)
    for number in range(count):
        directory = home.results / f"sweep{number // 500}"
        if number % 500 == 0:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"run-{number:06}.json").write_text(text)


def _take_in(home: Home) -> float:
    home.store.unlink(missing_ok=True)
    store = open_url(str(home.store))
    began = time.process_time_ns()
    TakeIn(store, home, CollectorConfig())()
    spent = time.process_time_ns() - began
    store.close()
    return spent


def _bare(home: Home) -> float:
    path = home.path / "bare.db"
    path.unlink(missing_ok=True)
    began = time.process_time_ns()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE result (run, config, metrics, document, PRIMARY KEY (run))")
    connection.execute("BEGIN")
    for file in home.results.rglob("*.json"):
        found = json.loads(file.read_bytes())
        row = [file.stem, *(json.dumps(part) for part in (found["config"], found["metrics"], found))]
        connection.execute("INSERT INTO result VALUES (?, ?, ?, ?)", row)
    connection.execute("COMMIT")
    connection.close()
    return time.process_time_ns() - began


def _rescan(home: Home, count: int) -> Figure:
    """Measure a whole pass that finds nothing new; files written just before it are looked at once more first."""
    ahead_ns = 0
    store = open_url(str(home.store))
    take_in = TakeIn(store, home, CollectorConfig(), lambda: time.time_ns() + ahead_ns)
    take_in()
    ahead_ns = 5_000_000_000
    take_in()
    began = time.process_time()
    take_in()
    spent_s = time.process_time() - began
    store.close()
    return Figure(f"rescan of {count:,} files that finds nothing new, processor time", spent_s, "s", at_most=2)
