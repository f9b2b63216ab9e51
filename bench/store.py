"""The results store at size: loading, the questions people ask, a scan that finds nothing, memory.

Every figure is CPU time of this process, best of a few, or its ratio to the same done by hand: a loop that parses and
inserts in bulk, and SQL that somebody would write on the same file.
"""

from __future__ import annotations

import json
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from measure import Figure

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.store import Store, open_url
from logferry_collector.takein import TakeIn
from logferry_collector.where import Query

_MODELS = ["ResNet18", "ResNet34", "ViT-B", "ConvNeXt", "MLP"]
_FILE_ROWS = 5_000


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
        metrics = {"test_accuracy": random_.random(), "loss": random_.expovariate(1)}
        metrics |= {f"metric_{name}": random_.random() for name in range(18)}
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


def load_by_hand(path: Path, home: Home) -> None:
    """Parse and insert in bulk, with the same columns to search in and the indexes of the ids."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(
        "CREATE TABLE result (experiment_id TEXT, run_id TEXT, status TEXT, config TEXT, metrics TEXT, document TEXT, "
        "PRIMARY KEY (experiment_id, run_id))"
    )
    for file in sorted(home.results.glob("*/*.jsonl")):
        connection.execute("BEGIN")
        with file.open() as lines:
            connection.executemany("INSERT INTO result VALUES (?, ?, ?, ?, ?, ?)", map(_row, lines))
        connection.execute("COMMIT")
    connection.close()


def _row(line: str) -> tuple[str, ...]:
    row = json.loads(line)
    ids = row["experiment_id"], row["run_id"], row["status"]
    return (*ids, json.dumps(row["config"]), json.dumps(row["metrics"]), line)


def cpu(work: Callable[[], object], times: int = 1) -> float:
    """Return the least CPU seconds of some tries."""
    least = float("inf")
    for _ in range(times):
        before = time.process_time()
        work()
        least = min(least, time.process_time() - before)
    return least


def figures(number: int = 100_000) -> list[Figure]:
    """Return what the SQLite store costs with so many results."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        home = Home(root / "home")
        write(home, number)
        by_hand = cpu(lambda: load_by_hand(root / "hand.db", home))
        with closing(open_url(str(root / "results.db"))) as store:
            ours = cpu(lambda: load(store, home))
            costs = {"loop": by_hand / number * 1e6, "ours": ours / number * 1e6}
            loading = Figure(f"store: loading {number:,} ÷ bare loop", ours / by_hand, "×", at_most=2, details=costs)
            return [loading, *asked(store, root / "results.db"), rescan(number // 10)]


def asked(store: Store, path: Path) -> list[Figure]:
    """Return what questions cost, beside SQL by hand on the same file."""
    names = Names(store.keys())
    where = parse("config.learning_rate = 0.01 and status = COMPLETED", names)
    top = Query(where, names.resolve("metrics.test_accuracy"), desc=True, limit=50)
    list(store.documents(top))  # makes its index
    ours = cpu(lambda: list(store.documents(top)), 20)
    with closing(sqlite3.connect(path)) as connection:
        by_hand = cpu(lambda: [json.loads(text) for (text,) in connection.execute(_TOP)], 3)
    details = {"by_hand_ms": by_hand * 1000, "ratio": ours / by_hand}
    return [Figure("store: filtered top 50", ours * 1000, "ms", at_most=20, details=details)]


def rescan(files: int) -> Figure:
    """Return what the start of a collector and a scan that find nothing new cost."""
    with tempfile.TemporaryDirectory() as directory:
        home = Home(Path(directory) / "home")
        for number in range(files):
            path = home.results / f"exp{number % 100:03d}" / f"run{number:06d}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"metrics": {"x": 1}}')
        with closing(open_url(str(Path(directory) / "results.db"))) as store:
            load(store, home)
            seconds = cpu(lambda: load(store, home), 3)
    return Figure("store: start and scan of 100,000 known files", seconds / files * 100_000, "s", at_most=2)


_TOP = """SELECT c.document FROM result r JOIN candidate c ON c.id = r.candidate
    WHERE json_extract(r.config, '$.learning_rate') = 0.01 AND r.status = 'COMPLETED'
    ORDER BY json_extract(r.metrics, '$.test_accuracy') DESC LIMIT 50"""


if __name__ == "__main__":
    for figure in figures(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(f"{figure.name}: {figure.value:.2f} {figure.unit} {figure.details}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, "MiB")
