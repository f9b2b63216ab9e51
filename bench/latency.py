"""From a call to what is promised of it: durable at the agent, and visible to who follows the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from measure import Figure, percentile
from node import BenchNode

RATE = 1_000
# Logs at a steady pace; prints when each call was made.
STEADY = """
import sys, time, logferry
rate, seconds = int(sys.argv[1]), float(sys.argv[2])
run = logferry.init("steady", run_id="steady")
run.flush(timeout=10)
print("ready", flush=True)
began = time.perf_counter()
number = 0
while (past := time.perf_counter() - began) < seconds:
    while number < past * rate:
        run.info("EpochEnd", sent_ns=time.time_ns(), epoch=number, batch=42, loss=0.94, phase="train")
        number += 1
    time.sleep(0.0005)
run.finish()
"""


def figures(seconds: float) -> list[Figure]:
    return [*durable(seconds), *followed(seconds)]


def durable(seconds: float) -> list[Figure]:
    """At 1,000 events a second, ask the agent again and again what is durable, beside the disk's own sync."""
    node = BenchNode()
    try:
        node.start_agent()
        job = _steady(node, RATE, seconds)
        seen: list[tuple[int, int]] = []  # (when the answer was there, number that was durable)
        syncs: list[float] = []
        with tempfile.TemporaryFile(dir=node.root) as scratch:
            while job.poll() is None:
                status = node.status()
                rows = status["producers"] if status else []
                seen.append((time.time_ns(), max((row["durable"] for row in rows), default=0)))
                if len(seen) % 25 == 0:
                    syncs.append(_sync_ms(scratch.fileno()))
        lines = (json.loads(line) for path in node.logs() for line in path.open("rb"))
        calls = [(int(line["seq"].rpartition("-")[2]), line["sent_ns"]) for line in lines if "sent_ns" in line]
    finally:
        node.close()
    waits, place = [], 0
    for number, sent_ns in calls:
        while place < len(seen) and seen[place][1] < number:
            place += 1
        if place < len(seen):
            waits.append((seen[place][0] - sent_ns) / 1e6)
    sync = percentile(syncs, 0.99)
    p99 = percentile(waits, 0.99)
    details: dict[str, float | str] = {
        "p50, ms": percentile(waits, 0.5),
        "fdatasync p99 of this disk, ms": sync,
        "5 ms + 3 × that": 5 + 3 * sync,
        "calls": len(waits),
    }
    return [Figure("call to durable at 1,000 events/s, p99", p99, "ms", max(12.0, 5 + 3 * sync), details=details)]


def followed(seconds: float) -> list[Figure]:
    """How long after a call `logs -f` shows it, at 10,000 events a second."""
    node = BenchNode()
    try:
        node.start_agent()
        job = _steady(node, 10 * RATE, seconds)
        command = [sys.executable, "-m", "logferry", "logs", "steady", "-f", "--json"]
        reader = subprocess.Popen(command, env=node.env, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        waits = []
        for line in reader.stdout:
            now_ns, event = time.time_ns(), json.loads(line)
            if "sent_ns" in event:
                waits.append((now_ns - event["sent_ns"]) / 1e6)
            if event["event"] == "ExperimentCompleted":
                break
        reader.terminate()
        reader.communicate()
        job.wait()
    finally:
        node.close()
    settled = waits[len(waits) // 4 :]  # before that the reader is still starting
    details: dict[str, float | str] = {"p50, ms": percentile(settled, 0.5), "longest, ms": max(settled)}
    p99 = percentile(settled, 0.99)
    return [Figure("call to `logs -f` at 10,000 events/s, p99", p99, "ms", 200, details=details)]


def _steady(node: BenchNode, rate: int, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", STEADY, str(rate), str(seconds)]
    job = subprocess.Popen(command, env=node.env, stdout=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.readline()
    return job


def _sync_ms(fd: int) -> float:
    os.write(fd, bytes(4096))
    began = time.perf_counter()
    os.fdatasync(fd)
    return (time.perf_counter() - began) * 1e3
