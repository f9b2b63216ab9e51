"""How cost grows: each table takes the same number of events, or of looks, over a factor of 100.

Processor time of the agent per event, from its readiness until everything is written, sealed and settled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import cache
from typing import NamedTuple

from measure import Figure
from node import BenchNode

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.store import open_url
from logferry_collector.takein import TakeIn

# Leaves a number of runs of a number of events behind, each in a spool of its own.
RUNS = """
import sys, logferry
runs, events = int(sys.argv[1]), int(sys.argv[2])
for run_number in range(runs):
    with logferry.init("growth", run_id=f"run{run_number}") as run:
        for i in range(events):
            run.info("EpochEnd", epoch=i, batch=42, loss=0.94, accuracy=0.77, phase="train")
"""
TOTAL = 200_000


class Shape(NamedTuple):
    """So many runs of so many events, of which each file is rotated so often."""

    runs: int
    events: int
    rotations: int = 0


def shapes(scale: int) -> tuple[dict[int, Shape], dict[int, Shape], dict[int, Shape]]:
    """Return what is measured by length of a run, by number of runs, by rotated files; the middle one is the same."""
    total = TOTAL // scale
    lengths = {events: Shape(1, events) for events in (total // 10, total, total * 10)}
    runs = {count: Shape(count, total // count) for count in (1, 10, 100)}
    return lengths, runs, {count: Shape(1, total, count) for count in (0, 10, 100)}


def prepare(scale: int) -> None:
    for table in shapes(scale):
        for shape in table.values():
            _spooled(shape)


def figures(scale: int) -> list[Figure]:
    lengths, runs, rotated = ({key: agent_us(one) for key, one in table.items()} for table in shapes(scale))
    unchanged = {count: rescan_ms(count) for count in (100, 1_000, 10_000)}
    return [
        _table("agent's CPU per event by length of the run", "events", lengths, "µs"),
        _table("agent's CPU per event by number of runs, start and end of each included", "runs", runs, "µs"),
        _table("agent's CPU per event by number of rotated files", "files", rotated, "µs"),
        _table("rescan by results that did not change", "results", unchanged, "ms"),
    ]


def by_producers(values: dict[int, float]) -> Figure:
    """Return the table of the same rate of events by number of producers, which the crowd measures."""
    return _table("agent's CPU per event by number of producers", "producers", values, "µs")


def _table(name: str, of: str, values: dict[int, float], unit: str) -> Figure:
    smallest, largest = min(values), max(values)
    details: dict[str, float | str] = {f"{count:,} {of}, {unit}": value for count, value in values.items()}
    return Figure(f"{name}, largest ÷ smallest", values[largest] / values[smallest], "×", details=details)


@cache
def _spooled(shape: Shape) -> BenchNode:
    """Have runs leave all their events in their spools."""
    node = BenchNode()
    runs, events, rotations = shape
    rotate = f"rotate_bytes = {max(1 << 16, runs * events * 150 // rotations)}\n" if rotations else ""
    node.config(f"spool_bytes = {1 << 30}\n[agent]\n{rotate}")
    command = [sys.executable, "-c", RUNS, str(runs), str(events)]
    subprocess.run(command, env=node.env, check=True, stderr=subprocess.DEVNULL)
    return node


@cache
def agent_us(shape: Shape) -> float:
    node = _spooled(shape)
    try:
        node.start_agent()
        before = node.cpu_s()
        while (status := node.status()) is None or status["producers"] or any(node.node.spool.iterdir()):
            time.sleep(0.05)
        return (node.cpu_s() - before) / (shape.runs * shape.events) * 1e6
    finally:
        node.close()


def rescan_ms(results: int) -> float:
    """Return the processor time of the collector's scan of so many results of which none has changed."""
    node = BenchNode()
    try:
        home = Home(node.root / "home")
        directory = home.results / "exp"
        directory.mkdir(parents=True)
        for number in range(results):
            document = {"experiment_id": "exp", "run_id": f"r{number}", "status": "COMPLETED", "metrics": {"a": number}}
            (directory / f"r{number}.json").write_text(json.dumps(document))
        quiet_ns = time.time_ns() - 2 * 86_400 * 1_000_000_000
        for path in [*directory.iterdir(), directory]:
            os.utime(path, ns=(quiet_ns, quiet_ns))
        store = open_url(str(node.root / "results.db"))
        take_in = TakeIn(store, home, CollectorConfig())
        take_in()
        took = []
        for _ in range(5):
            began = time.process_time()
            take_in.discover.scan()
            took.append(time.process_time() - began)
        store.close()
        return min(took) * 1e3
    finally:
        node.close()
