"""A home with results in it, a store, and a clock that tests jump."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.query import Reader
from logferry_collector.store import Store, open_url
from logferry_collector.takein import TakeIn

SAMPLE: dict[str, Any] = {
    "experiment_id": "exp042",
    "timestamp": "2025-07-30T14:00:00Z",
    "status": "COMPLETED",
    "model": "ResNet34",
    "dataset": "CIFAR-10_v3.2",
    "config": {"learning_rate": 0.001, "batch_size": 128, "epochs": 20, "seed": 12345},
    "metrics": {"train_accuracy": 0.991, "valid_accuracy": 0.932, "test_accuracy": 0.927, "final_loss": 0.183},
    "notes": "Baseline experiment for reproducibility.",
}


class Place:
    """One home, one store; `collect` is what a collector does between two waits."""

    def __init__(self, root: Path, store: Store | None = None) -> None:
        self.home = Home(root / "home")
        self.ahead_s = 0.0  # of the real clock
        self.store = store or open_url(str(self.home.store))
        self.reader = Reader(self.store, self.home, None, self.clock_ns)
        self.restart()

    def clock_ns(self) -> int:
        return time.time_ns() + int(self.ahead_s * 1e9)

    def restart(self, config: CollectorConfig | None = None) -> None:
        """Forget what is in memory, as a new process would."""
        self.take_in = TakeIn(self.store, self.home, config or CollectorConfig(), self.clock_ns)

    def collect(self) -> int:
        return self.take_in()

    def settle(self) -> int:
        """Collect when nobody has written for longer than the settle time."""
        self.ahead_s += 6
        return self.collect()

    def write(self, name: str, content: Any) -> Path:
        """Write a file below `results/`: text and bytes as they are, everything else as JSON."""
        path = self.home.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def append(self, name: str, *rows: Any, end: str = "\n") -> None:
        path = self.home.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + end)

    def documents(self, where: str = "", **order: Any) -> list[dict[str, Any]]:
        return list(self.reader.results(where, **order))

    def ids(self, where: str = "", **order: Any) -> list[str]:
        return [document["run_id"] for document in self.documents(where, **order)]

    def faults(self) -> list[tuple[str, int, str]]:
        """Return (file name, line, fault) of every reject."""
        return [(Path(path).name, reject.line, str(reject.fault)) for path, reject in self.store.rejects()]
