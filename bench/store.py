"""The results stores at size: loading, the questions people ask, a scan that finds nothing, memory.

Every figure is the least of a few, beside the same done by hand: a loop that parses and inserts in bulk, and SQL that
somebody would write on the same store. With SQLite it is processor time of this process; PostgreSQL works in others,
and there it is time on the clock. `store.py 1000000` measures a million results.
"""

from __future__ import annotations

import itertools
import json
import random
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from ahead import scratch
from measure import Figure

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.query import Reader
from logferry_collector.store import Store, open_url
from logferry_collector.takein import TakeIn
from logferry_collector.where import Query

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support import postgres

# Whoever waits for so long is not disturbed by what a machine does for milliseconds.
_SLOW_S = 0.7
_MODELS = ["ResNet18", "ResNet34", "ViT-B", "ConvNeXt", "MLP"]
_FILE_ROWS = 5_000
_KEYS = ["learning_rate", "batch_size", "optimizer", "model"]
_METRICS = ["test_accuracy", "loss", *(f"metric_{name}" for name in range(18))]


def documents(number: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield results of 30 configuration keys and 20 metrics."""
    random_ = random.Random(seed)
    for index in range(number):
        config: dict[str, Any] = {
            "learning_rate": random_.choice([0.1, 0.01, 0.001, 0.0001]),
            "batch_size": random_.choice([32, 64, 128]),
            "optimizer": random_.choice(["sgd", "adam", "lion"]),
            "seed": index % 10,
        }
        config |= {f"setting_{name}": random_.choice([1, 2.5, "text", True, None]) for name in range(26)}
        metrics = {name: random_.random() for name in _METRICS}
        yield {
            "experiment_id": f"exp{index % 50:03d}",
            "run_id": f"run-{index:07d}",
            "timestamp": "2025-07-30T14:00:00Z",
            "status": "COMPLETED" if index % 20 else "FAILED",
            "model": random_.choice(_MODELS),
            "dataset": "CIFAR-10_v3.2",
            "config": config,
            "metrics": metrics,
            "notes": "",
        }


def write(home: Home, number: int) -> None:
    """Write results as JSON Lines, as sweeps leave them."""
    rows = documents(number)
    for file in range(0, number, _FILE_ROWS):
        path = home.results / f"sweep{file // _FILE_ROWS:04d}" / "all.jsonl"
        path.parent.mkdir(parents=True)
        with path.open("w") as out:
            for _, row in zip(range(min(_FILE_ROWS, number - file)), rows, strict=False):
                out.write(json.dumps(row) + "\n")


def load(store: Store, home: Home) -> None:
    TakeIn(store, home, CollectorConfig(settle_s=0))()


_TABLE = """CREATE TABLE hand (experiment_id TEXT, run_id TEXT, status TEXT, config {json}, metrics {json},
    document TEXT, PRIMARY KEY (experiment_id, run_id))"""


def load_by_hand(url: str, home: Home) -> None:
    """Parse and insert in bulk, with the same columns to search in and the indexes of the ids."""
    connection = sqlite3.connect(url, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_TABLE.format(json="TEXT"))
    for file in sorted(home.results.glob("*/*.jsonl")):
        connection.execute("BEGIN")
        with file.open() as lines:
            connection.executemany("INSERT INTO hand VALUES (?, ?, ?, ?, ?, ?)", map(_row, lines))
        connection.execute("COMMIT")
    connection.close()


def copy_by_hand(url: str, home: Home) -> None:
    """The same in PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE.format(json="JSONB").encode())
        for file in sorted(home.results.glob("*/*.jsonl")):
            with file.open() as lines, connection.cursor().copy("COPY hand FROM STDIN") as copy:
                for row in map(_row, lines):
                    copy.write_row(row)


def _row(line: str) -> tuple[str, ...]:
    row = json.loads(line)
    ids = row["experiment_id"], row["run_id"], row["status"]
    return (*ids, json.dumps(row["config"]), json.dumps(row["metrics"]), line)


def least(clock: Callable[[], float], work: Callable[[], object], times: int = 1) -> float:
    """Return the least seconds of some tries."""
    found = float("inf")
    for _ in range(times):
        before = clock()
        work()
        found = min(found, clock() - before)
    return found


def cpu(work: Callable[[], object], times: int = 1) -> float:
    """Return the least processor seconds of some tries."""
    return least(time.process_time, work, times)


class Backend(NamedTuple):
    name: str
    fresh: Callable[[], str]  # the URL of an empty store
    clock: Callable[[], float]
    load_by_hand: Callable[[str, Home], None]
    ask_by_hand: Callable[[str, str], list[Any]]
    column: Callable[[str, str], str]  # SQL of a value of a section
    number: str  # SQL that makes it a number

    def top(self) -> str:
        """Return what somebody would write for the filtered top 50."""
        lr, acc = self.number.format(self.column("config", "learning_rate")), self.column("metrics", "test_accuracy")
        return (
            "SELECT c.document FROM result r JOIN candidate c ON c.id = r.candidate "
            f"WHERE {lr} = 0.01 AND r.status = 'COMPLETED' ORDER BY {self.number.format(acc)} DESC LIMIT 50"
        )

    def groups(self, metrics: list[str]) -> str:
        """Return what somebody would write for means over seeds."""
        sections = dict.fromkeys((*_KEYS[:3], "seed"), "config") | {"model": "fields"}
        taken = [f"{self.column(section, name)} AS {name}" for name, section in sections.items()]
        taken += [f"{self.number.format(self.column('metrics', name))} AS {name}" for name in metrics]
        keys, means = ", ".join(_KEYS), ", ".join(f"avg({name}) AS {name}" for name in metrics)
        inner = f"SELECT {keys}, seed, {means} FROM (SELECT {', '.join(taken)} FROM result r) AS taken"
        return f"SELECT {keys}, count(*), {means} FROM ({inner} GROUP BY {keys}, seed) AS seeds GROUP BY {keys}"


def figures(number: int = 100_000) -> list[Figure]:
    """Return what each store costs with so many results."""
    root, home, server = prepare(number)
    server.start()
    try:
        found = [one for backend in (sqlite(root), postgresql(server)) for one in measured(backend, home, number)]
    finally:
        server.stop()
        shutil.rmtree(root)
    return [*found, rescan(_known(number))]


@cache
def prepare(number: int) -> tuple[Path, Home, postgres.Server]:
    """Make a home with so many results, and a server of PostgreSQL."""
    root = scratch()
    root.chmod(0o755)
    home = Home(root / "home")
    write(home, number)
    server = postgres.Server(root / "pg")
    server.create()
    prepare_known(_known(number))
    return root, home, server


def sqlite(root: Path) -> Backend:
    names = (str(root / f"store{number}.db") for number in itertools.count())

    def ask(url: str, query: str) -> list[Any]:
        with closing(sqlite3.connect(url)) as connection:
            return connection.execute(query).fetchall()

    def column(section: str, name: str) -> str:
        return f"json_extract(r.{section}, '$.{name}')"

    return Backend("SQLite", names.__next__, time.process_time, load_by_hand, ask, column, "{}")


def postgresql(server: postgres.Server) -> Backend:
    def ask(url: str, query: str) -> list[Any]:
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    def column(section: str, name: str) -> str:
        return f"r.{section} ->> '{name}'"

    number = "({})::float8"
    return Backend("PostgreSQL", server.fresh_url, time.perf_counter, copy_by_hand, ask, column, number)


def measured(backend: Backend, home: Home, number: int) -> Iterator[Figure]:
    by_hand = ours = float("inf")
    url = ""
    # In turn, because a disk is fast and slow by minutes.
    for _ in range(2 if number <= 100_000 else 1):
        url = backend.fresh()
        by_hand = min(by_hand, least(backend.clock, partial(backend.load_by_hand, url, home)))
        url = backend.fresh()
        with closing(open_url(url)) as store:
            ours = min(ours, least(backend.clock, partial(load, store, home)))
    costs: dict[str, float | str] = {"loop, µs": by_hand / number * 1e6, "ours, µs": ours / number * 1e6}
    yield Figure(f"{backend.name}: loading {number:,} ÷ bare loop", ours / by_hand, "×", at_most=2, details=costs)
    few, many = (20, 100) if number <= 100_000 else (50, None)
    with closing(open_url(url)) as store:
        yield asked(
            backend, "filtered top 50", partial(_top, store), partial(backend.ask_by_hand, url, backend.top()), few
        )
        reader = Reader(store, home)
        for what, metrics, goal in (("", _METRICS[:1], many), (", 20 metrics", _METRICS, None)):
            by_hand_too = partial(backend.ask_by_hand, url, backend.groups(metrics))
            yield asked(backend, f"group by four keys{what}", partial(_groups, reader, metrics), by_hand_too, goal)


def asked(
    backend: Backend, what: str, question: Callable[[], object], by_hand: Callable[[], object], at_most: float | None
) -> Figure:
    """Return what a question costs when it is asked again, beside SQL by hand."""
    first = least(backend.clock, question)
    times = 7 if first < _SLOW_S else 3
    again, hand = least(backend.clock, question, times), least(backend.clock, by_hand, 2)
    details: dict[str, float | str] = {"first, ms": first * 1000, "by hand, ms": hand * 1000, "÷ by hand": again / hand}
    return Figure(f"{backend.name}: {what}", again * 1000, "ms", at_most=at_most, details=details)


def _top(store: Store) -> None:
    names = Names(store.keys())
    where = parse("config.learning_rate = 0.01 and status = COMPLETED", names)
    query = Query(where, names.resolve("metrics.test_accuracy"), desc=True, limit=50)
    assert len(list(store.documents(query))) == 50


def _groups(reader: Reader, metrics: list[str]) -> None:
    assert len(reader.results().group(_KEYS, metrics=metrics)) == 180


def _known(number: int) -> int:
    return min(number // 10, 100_000)


@cache
def prepare_known(files: int) -> tuple[Home, str]:
    """Make a home with so many small results that are in its store."""
    root = scratch()
    home, url = Home(root / "home"), str(root / "results.db")
    for number in range(files):
        path = home.results / f"exp{number % 100:03d}" / f"run{number:06d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"metrics": {"x": 1}}')
    with closing(open_url(url)) as store:
        load(store, home)
    return home, url


def rescan(files: int) -> Figure:
    """Return what the start of a collector and a scan that find nothing new cost."""
    home, url = prepare_known(files)
    with closing(open_url(url)) as store:
        seconds = cpu(lambda: load(store, home), 3)
    return Figure("SQLite: start and scan of 100,000 known files", seconds / files * 100_000, "s", at_most=2)


if __name__ == "__main__":
    for figure in figures(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(f"{figure.name}: {figure.value:.2f} {figure.unit} {figure.goal} {figure.details}")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB ≤ 300")
