"""Many processes at once: forked callers, training loops beside an agent, and a thousand producers."""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from measure import Figure, Spread, interleaved, ns_per_call, percentile, ratio
from node import BenchNode

import logferry
from logferry_agent.answers import resident_bytes

FORKS, TRAINERS = 4, 8

# Steps of about a millisecond of work; logs one event a step in every other phase. Prints steps by phase.
TRAIN = """
import hashlib, json, sys, time, logferry
began, phases, phase_s = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
run = logferry.init("train", run_id=sys.argv[4])
data = bytes(1_300_000)
def step():
    return hashlib.sha256(data).digest()
steps, cpu = [0] * phases, [0.0] * phases
while time.time() < began:
    time.sleep(0.001)
number = 0
while (phase := int((time.time() - began) / phase_s)) < phases:
    before = time.process_time()
    step()
    if phase % 2:
        run.info("StepEnd", step=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
    steps[phase] += 1
    cpu[phase] += time.process_time() - before
    number += 1
print(json.dumps([steps, cpu]))
run.finish()
"""

# Forked processes with a producer each, that log at a steady pace once all are there; each prints what it shed, and
# stays until the input ends.
MANY = """
import os, sys, time, logferry
count, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
ready, go = os.pipe(), os.pipe()
children = []
for number in range(count):
    pid = os.fork()
    if pid == 0:
        os.close(go[1])
        run = logferry.init("many", run_id=f"run{os.getpid()}")
        run.flush(until="durable", timeout=60)
        os.write(ready[1], b".")
        os.read(go[0], 1)
        began = time.monotonic() + number / count / rate
        sent = 0
        while (past := time.monotonic() - began) < seconds:
            while sent < past * rate:
                run.info("EpochEnd", sent_ns=time.time_ns(), epoch=sent, batch=42, loss=0.94, phase="train")
                sent += 1
            time.sleep(max(0.0, sent / rate - (time.monotonic() - began)))
        os.write(1, b"%d\\n" % run.flush(until="spooled").shed)
        if not sys.stdin.buffer.raw.read(1):
            run.finish()
            os._exit(0)
    children.append(pid)
there = 0
while there < count:
    there += len(os.read(ready[0], count))
print(flush=True)
os.close(go[1])
sys.stdin.close()
for pid in children:
    os.waitpid(pid, 0)
"""


def figures(rounds: int, phases: int, producers: int, rate: float) -> list[Figure]:
    return [forks(rounds), *training(phases), *thousand(producers, rate)]


def forks(rounds: int) -> Figure:
    """Four forked processes that log at once against one, in processor time of the calling thread."""
    node = BenchNode()
    try:
        node.start_agent()
        os.environ.update({key: value for key, value in node.env.items() if key.startswith("LOGFERRY_")})
        run = logferry.init("forks")
        one, four = (lambda: _in_children(run.info, 1)), (lambda: _in_children(run.info, FORKS))
        took = interleaved(rounds, one=one, four=four)
        run.finish()
    finally:
        node.close()
    return ratio("call of each of four forked processes ÷ of one", took["four"], took["one"])


def _in_children(call: Callable[..., None], count: int) -> float:
    """Return the mean processor time of a call in ns, over children that log at the same time."""
    shared = mmap.mmap(-1, 8 * count)
    children = []
    for place in range(count):
        pid = os.fork()
        if pid == 0:
            call("Warm")
            began = time.thread_time_ns()
            ns_per_call(call, 20_000)
            struct.pack_into("d", shared, 8 * place, (time.thread_time_ns() - began) / 20_000)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return sum(struct.unpack(f"{count}d", shared)) / count


def training(phases: int) -> list[Figure]:
    """Eight training loops of 1 ms steps; all log in every other phase, and what that slows them down."""
    node = BenchNode()
    phase_s = 1.0
    try:
        node.start_agent()
        began = time.time() + 4
        arguments = [str(began), str(2 * phases), str(phase_s)]
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", TRAIN, *arguments, f"run{number}"], env=node.env, stdout=subprocess.PIPE
            )
            for number in range(TRAINERS)
        ]
        said = [json.loads(job.communicate()[0]) for job in jobs]
    finally:
        node.close()
    steps = [sum(one[0][phase] for one in said) for phase in range(2 * phases)]
    costs = [sum(one[1][phase] for one in said) / max(1, steps[phase]) for phase in range(2 * phases)]
    slower = [silent / max(1, logging) for silent, logging in zip(steps[::2], steps[1::2], strict=True)]
    own = [logging / silent for silent, logging in zip(costs[::2], costs[1::2], strict=True)]
    details: dict[str, float | str] = {
        "step, ms of CPU": Spread.of(costs).median * 1e3,
        "smallest": min(slower),
        "largest": max(slower),
        "steps per second": sum(steps) / (2 * phases * phase_s),
    }
    return [
        Figure("training loops, silent ÷ logging, agent included", Spread.of(slower).median, "×", details=details),
        Figure("training step with an event ÷ without, CPU of the job", Spread.of(own).median, "×", 1.01),
    ]


def thousand(producers: int, rate: float, seconds: float = 10.0) -> list[Figure]:
    """That many forked processes: logging at a pace each, then at rest."""
    node = BenchNode()
    try:
        node.config("spool_bytes = 1048576\n")
        node.start_agent()
        assert node.agent
        status = Path(f"/proc/{node.agent.pid}/status")
        empty = resident_bytes(status)
        code = [sys.executable, "-c", MANY, str(producers), str(rate), str(seconds)]
        jobs = subprocess.Popen(
            code, env=node.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert jobs.stdout
        jobs.stdout.readline()
        polls, shed = _watched(node, jobs.stdout, producers)
        busy_memory, descriptors = resident_bytes(status), len(os.listdir(f"/proc/{node.agent.pid}/fd"))
        before = node.cpu_s()
        time.sleep(seconds)
        idle = (node.cpu_s() - before) / seconds
        memory = resident_bytes(status)
        jobs.communicate()
        waits = _waits_ms(node, polls)
    finally:
        node.close()
    details: dict[str, float | str] = {
        "descriptors": descriptors,
        "without producers, MiB": empty / (1 << 20),
        "after logging, MiB": busy_memory / (1 << 20),
    }
    spread: dict[str, float | str] = {"p50, ms": percentile(waits, 0.5), "events": len(waits)}
    many = f"{producers} producers"
    return [
        Figure(f"{many} × {rate:g} events/s, shed", shed, "events", 0),
        Figure(
            f"{many} × {rate:g} events/s, call to written, p99", percentile(waits, 0.99), "ms", 1_000, details=spread
        ),
        Figure(f"agent's memory, {many} at rest", memory / (1 << 20), "MiB", 40, details=details),
        Figure(f"agent's CPU, {many} at rest", idle * 100, "% of a core", 0.5),
    ]


_Polls = list[tuple[int, dict[str, int]]]


def _watched(node: BenchNode, out: IO[bytes], producers: int) -> tuple[_Polls, int]:
    """Ask what is written until all have said how many of their events were shed, and all is written."""
    polls: _Polls = []
    shed: list[int] = []
    reader = threading.Thread(target=lambda: shed.extend(int(out.readline()) for _ in range(producers)))
    reader.start()
    while True:
        ended = not reader.is_alive()
        status = node.status()
        if status is None:  # too busy to answer in time
            continue
        rows = status["producers"]
        polls.append((time.time_ns(), {row["producer"]: row["written"] for row in rows}))
        if ended and all(row["written"] >= row["durable"] == row["expected"] - 1 for row in rows):
            return polls, sum(shed)
        time.sleep(0.1)


def _waits_ms(node: BenchNode, polls: _Polls) -> list[float]:
    """Return how long after its call each event was seen to be written."""
    waits = []
    for path in node.logs():
        place = 0
        for line in path.open("rb"):
            event = json.loads(line)
            if "sent_ns" not in event:
                continue
            producer, _, number = event["seq"].rpartition("-")
            while place < len(polls) and polls[place][1].get(producer, 0) < int(number):
                place += 1
            if place < len(polls):
                waits.append((polls[place][0] - event["sent_ns"]) / 1e6)
    return waits
