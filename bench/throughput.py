"""The agent at full load: how fast it acks, how fast it writes, and what each event costs it."""

from __future__ import annotations

import time
from pathlib import Path

import floor
import syslogs
from measure import Figure
from node import BenchNode

from logferry import leftovers

PRODUCERS = 4


def figures(events: int) -> list[Figure]:
    """Four producers with full spools, then an agent, beside the bare loop over the same bytes."""
    node = BenchNode()
    try:
        return _figures(node, events)
    finally:
        node.close()


def beside_peers(events: int, debian: Path) -> list[Figure]:
    """The same, and system loggers with a twentieth of the events, because they take them one by one."""
    found = figures(events)
    return [*found, *syslogs.figures(debian, events // 20, float(found[0].details["agent, µs of CPU per event"]))]


def _figures(node: BenchNode, events: int) -> list[Figure]:
    node.config(f"spool_bytes = {1 << 30}\n")  # all events lie there before the agent starts
    producers = node.fill(PRODUCERS, events)
    payloads, tag = _spooled(node)
    total = PRODUCERS * events
    node.start_agent()
    began, began_cpu = time.perf_counter(), node.cpu_s()
    durable_s = node.wait_until("durable", total) - began
    written_s = node.wait_until("written", total) - began
    cpu = (node.cpu_s() - began_cpu) / total * 1e6
    bare_began = time.process_time()
    bare_events = floor.render_and_write(payloads, tag, node.root / "bare.jsonl")
    bare = (time.process_time() - bare_began) / bare_events * 1e6
    memory = node.memory_bytes() / (1 << 20)
    for one in producers:
        one.communicate()
    details: dict[str, float | str] = {"agent, µs of CPU per event": cpu, "bare loop": bare, "events": total}
    return [
        Figure("agent's CPU per event, written and synced ÷ bare loop", cpu / bare, "×", 1.3, details=details),
        Figure("receiving to ack, events per second", total / durable_s, "", at_least=600_000),
        Figure("receiving to written, events per second", total / written_s, "", at_least=250_000),
        Figure("agent's memory at full load", memory, "MiB", 100),
    ]


def _spooled(node: BenchNode) -> tuple[list[tuple[int, bytes]], str]:
    """Return what one of the producers has spooled: the same bytes that the agent gets."""
    directory = next(path for path in node.node.spool.iterdir())
    slices = [found for found in leftovers.read_dead(directory, 0, 1 << 20) if isinstance(found, leftovers.Slice)]
    return [(one.first, one.payload) for one in slices], directory.name
