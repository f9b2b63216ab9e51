"""Many producers on one node: each arrives whole, and what the agent needs for them is bounded.

`python tests/system/test_many.py 20 50` does the same with twenty processes of fifty runs each, and prints figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from logferry.layout import NodeDir
from logferry_agent.answers import resident_bytes
from support.node import Node, wait_for

# Opens runs and waits for a line; then logs to each and ends.
JOB = """
import sys, time, logferry
count, place = int(sys.argv[1]), sys.argv[2]
runs = [logferry.init("many", run_id=f"{place}-{n}") for n in range(count)]
for run in runs: run.flush(timeout=120)
print("ready", flush=True)
sys.stdin.readline()
for n in range(20):
    for run in runs: run.info("Tick", n=n)
for run in runs: run.finish()
"""
# Beyond what it has open by itself: a connection, a descriptor of the process, a file of the run's log each.
_DESCRIPTORS, _BYTES = 3, 256 << 10


def many(node: Node, processes: int, runs: int, idle_s: float = 0) -> dict[str, Any]:
    """Connect so many producers, look at the agent while they are at rest, and for how long; let them log and end."""
    node.configure("spool_bytes = 1048576\n")
    agent = node.agent()
    fds, status = Path(f"/proc/{agent.pid}/fd"), Path(f"/proc/{agent.pid}/status")
    alone = {"descriptors": len(os.listdir(fds)), "memory_mib": resident_bytes(status) >> 20}
    began = time.monotonic()
    jobs = [
        node.job(JOB, str(runs), str(place), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for place in range(processes)
    ]
    for job in jobs:
        assert job.stdout
        assert job.stdout.readline() == b"ready\n"
    connected_s = time.monotonic() - began
    wait_for("all that was said at the start is written", lambda: _is_written(node), 120)
    asked = time.monotonic()
    said = node.asked("status")["agent"]
    found = {
        "connected": said["connected"],
        "status_s": round(time.monotonic() - asked, 2),
        "connected_s": round(connected_s, 1),
        "agents_cpu_s": _cpu_ticks(agent.pid) / os.sysconf("SC_CLK_TCK"),
        "alone": alone,
        "descriptors": len(os.listdir(fds)),
        "memory_mib": resident_bytes(status) >> 20,
    }
    if idle_s:
        found["idle_percent"] = round(_idle_percent(agent.pid, idle_s), 2)
    for job in jobs:
        job.communicate(b"\n")
    wait_for("every producer has its seal", lambda: len(_sealed(node)) == processes * runs, 120)
    began = time.monotonic()
    node.stop(agent)
    stopped = time.monotonic()
    restarted = node.agent()
    found |= {"stop_s": round(stopped - began, 1), "start_s": round(time.monotonic() - stopped, 1)}
    node.stop(restarted)
    return found


def _is_written(node: Node) -> bool:
    return all(one["written"] == one["expected"] - 1 for one in node.asked("status")["agent"]["producers"])


def _idle_percent(pid: int, seconds: float) -> float:
    time.sleep(1)  # what the last question cost
    before = _cpu_ticks(pid)
    time.sleep(seconds)
    return 100 * (_cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / seconds


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _sealed(node: Node) -> list[str]:
    logs = (node.home / "logs" / "many").glob("*/*.jsonl")
    return [path.parent.name for path in logs if b'"logferry.seal"' in path.read_bytes()[-4096:]]


def test_fifty_producers_are_connected_at_once_within_bounds(node: Node) -> None:
    count = 2 * 25
    found = many(node, 2, 25)
    assert found["connected"] == count
    assert found["descriptors"] - found["alone"]["descriptors"] <= _DESCRIPTORS * count + 20
    assert (found["memory_mib"] - found["alone"]["memory_mib"]) << 20 <= _BYTES * count
    numbers = node.numbers("many/*/*.jsonl")
    # Start, twenty ticks, end, and the SDK's own records.
    producers = {name: found for name, found in numbers.items() if name != "agent"}
    assert len(producers) == count
    assert all(found == list(range(1, len(found) + 1)) for found in producers.values())
    ticks = [line for line in node.lines("many/*/*.jsonl") if line["event"] == "Tick"]
    assert len(ticks) == 20 * count
    assert not any(NodeDir(node.dir).spool.iterdir())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="lf-many-") as directory:
        place = Node(Path(directory))
        try:
            print(json.dumps(many(place, int(sys.argv[1]), int(sys.argv[2]), idle_s=3)))
        finally:
            place.close()
