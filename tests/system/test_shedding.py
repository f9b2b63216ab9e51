"""What a full spool sheds is counted to the call and marked where it is missing, also of a job that is killed then."""

from __future__ import annotations

import signal
import struct
from collections import Counter
from typing import Any

from support.node import Node, wait_for

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Counts in a file outside of the process how many calls of each level returned; goes on each time it is told to.
JOB = """
import mmap, os, sys, logferry
counts = memoryview(mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)).cast("Q")
run = logferry.init("exp", run_id="r")
calls = [run.debug, run.info, run.warning, run.error, run.critical]
def log(rounds, phase):
    for n in range(rounds):
        for place, call in enumerate(calls):
            call("Tick", phase=phase, n=n, ballast="x" * 400)
            counts[place] += 1
log(400, "first")
print("full", flush=True)
sys.stdin.readline()
log(1, "between")
print("logged", flush=True)
sys.stdin.readline()
log(400, "second")
print("full", flush=True)
log(10**9, "killed")
"""


def test_counts_and_marks_are_right_after_a_kill_in_the_middle_of_shedding(node: Node) -> None:
    node.configure("spool_bytes = 262144\n")
    counts = node.root / "counts"
    counts.write_bytes(bytes(4096))
    job = node.job(JOB, str(counts), stdin=-1, stdout=-1)
    assert job.stdin is not None
    assert job.stdout is not None
    assert job.stdout.readline() == b"full\n"
    # The next agent takes all there is; then the levels are taken again, and the gap stands before what comes.
    agent = node.agent()
    wait_for("the gap is marked", lambda: _gaps(node))
    job.stdin.write(b"\n")
    job.stdin.flush()
    assert job.stdout.readline() == b"logged\n"
    wait_for("the lines between are written", lambda: _ticks(node, "between")["CRITICAL"])
    agent.send_signal(signal.SIGSTOP)
    job.stdin.write(b"\n")
    job.stdin.flush()
    assert job.stdout.readline() == b"full\n"
    job.kill()
    job.wait()
    agent.send_signal(signal.SIGCONT)
    (seal,) = wait_for("the seal", node.seals)

    returned = dict(zip(LEVELS, struct.unpack_from("5Q", counts.read_bytes()), strict=True))
    written = _ticks(node)
    for level, calls in returned.items():
        # Of the call that the kill interrupted nobody can say whether it counts.
        assert calls <= written[level] + seal["shed"].get(level, 0) <= calls + 1
    assert sum(written.values()) + sum(seal["shed"].values()) - sum(returned.values()) in {0, 1}
    assert seal["exit"]["reason"] == "vanished"
    assert seal["shed"]["DEBUG"] >= seal["shed"]["INFO"] >= seal["shed"]["WARNING"]

    (gap,) = _gaps(node)
    assert set(gap["shed"]) <= set(LEVELS)
    lines = [line for line in node.lines() if line["event"] in {"Tick", "logferry.gap"}]
    phases = [line.get("phase", "gap") for line in lines]
    assert phases.index("gap") == len([phase for phase in phases if phase == "first"])
    assert phases.index("between") == phases.index("gap") + 1
    assert gap["shed"] == {level: 400 - count for level, count in _ticks(node, "first").items() if count < 400}

    verdict = node.asked("verify", "exp")
    (producer,) = verdict["producers"]
    assert not verdict["complete"]
    assert (producer["missing"], producer["repeated"]) == (0, 0)
    assert producer["shed"] == sum(seal["shed"].values())


def _gaps(node: Node) -> list[dict[str, Any]]:
    return [line for line in node.lines() if line["event"] == "logferry.gap"]


def _ticks(node: Node, phase: str | None = None) -> Counter[str]:
    ticks = [line for line in node.lines() if line["event"] == "Tick"]
    return Counter(line["level"] for line in ticks if phase in {None, line["phase"]})
