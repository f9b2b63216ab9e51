"""Many processes at once: forked callers, training loops beside an agent, and a thousand producers."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import statistics
import struct
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import growth
from many import Logged, Many
from measure import Figure, interleaved, ns_per_call, percentile, ratio
from node import BenchNode

import logferry

FORKS, TRAINERS = 4, 8
# Silent producers let their connections go after two minutes, and the agent then gives memory back within 20 s.
REST_S = 150.0

# Phases of a training loop. What logging left behind follows it for up to a second, so that second is not measured.
PHASES = ["settles", "silent", "bare", "begins", "logging"]
# Steps of so many bytes hashed; in each the loop does what its phase says. Prints steps and processor time by phase.
TRAIN = """
import hashlib, json, sys, time, logferry, floor
began, rounds, size = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
run = logferry.init("train", run_id=sys.argv[4])
bare, again = floor.bare_call(1 << 20)
calls = [None, None, bare, run.info, run.info] * rounds
data = bytes(size)
steps, cpu = [0] * len(calls), [0.0] * len(calls)
while time.time() < began:
    time.sleep(0.001)
number = 0
while (phase := int(time.time() - began)) < len(calls):
    before = time.process_time()
    hashlib.sha256(data).digest()
    if call := calls[phase]:
        call("StepEnd", step=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
    steps[phase] += 1
    cpu[phase] += time.process_time() - before
    number += 1
    if number % 1000 == 0:
        again()
print(json.dumps([steps, cpu]))
run.finish()
"""


def figures(rounds: int, loops: int, producers: int, meanwhile: Callable[[], None]) -> list[Figure]:
    """Measure; `meanwhile` does what other groups need done, while nothing is measured."""
    return [forks(rounds), *training(loops), *thousand(producers, meanwhile)]


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


def training(rounds: int) -> list[Figure]:
    """Eight training loops of 1 ms steps by turns silent, with a bare call and logging, and what that costs them."""
    node = BenchNode()
    size = _hashed_in(0.001)
    try:
        node.start_agent()
        arguments = [str(time.time() + 4), str(rounds), str(size)]
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", TRAIN, *arguments, f"run{number}"],
                cwd=Path(__file__).parent,
                env=node.env,
                stdout=subprocess.PIPE,
            )
            for number in range(TRAINERS)
        ]
        said = [json.loads(job.communicate()[0]) for job in jobs]
    finally:
        node.close()
    steps, cpu_s = ([sum(values) for values in zip(*(one[kind] for one in said), strict=True)] for kind in (0, 1))
    cpu_ms = [1e3 * spent / max(1, count) for spent, count in zip(cpu_s, steps, strict=True)]
    by_clock = [1 / max(1, count) for count in steps]
    return [
        _against_silent("training step with an event ÷ without, agent included", by_clock, 1.01),
        _against_silent("training step with an event ÷ without, CPU of the job", cpu_ms, 1.01),
    ]


def _hashed_in(seconds: float) -> int:
    """Return of how many bytes the digest takes so long."""
    data = bytes(1_000_000)
    took = min(timeit.repeat(lambda: hashlib.sha256(data).digest(), number=1, repeat=20))
    return int(len(data) * seconds / took)


def _against_silent(name: str, costs: list[float], goal: float) -> Figure:
    """Return what a step costs by phase as a multiple of what it does in the silent one of the same round."""
    by_phase = {phase: costs[place :: len(PHASES)] for place, phase in enumerate(PHASES)}
    found = {
        phase: [cost / silent for cost, silent in zip(by_phase[phase], by_phase["silent"], strict=True)]
        for phase in ("bare", "logging")
    }
    details: dict[str, float | str] = {
        "standard error": statistics.stdev(found["logging"]) / len(found["logging"]) ** 0.5,
        "the same of stamp, pack, copy": statistics.mean(found["bare"]),
        "its standard error": statistics.stdev(found["bare"]) / len(found["bare"]) ** 0.5,
    }
    return Figure(name, statistics.mean(found["logging"]), "×", goal, details=details)


def few_us(producers: int, rate: int, seconds: float = 3.0) -> float:
    """Return the agent's CPU per event where so many log that many events a second between them."""
    crowd = Many(producers, seconds)
    try:
        return crowd.log(rate // producers // 10).agent_us
    finally:
        crowd.close()


def thousand(producers: int, meanwhile: Callable[[], None], seconds: float = 8.0) -> list[Figure]:
    """That many forked processes: logging at two paces, then at rest; the first pace also of fewer."""
    few = {count: few_us(count, 10 * producers) for count in (producers // 100, producers // 10)}
    crowd = Many(producers, seconds)
    node, many = crowd.node, f"{producers} producers"
    memory: dict[str, float | str] = {"without producers, MiB": _mib(crowd.empty_bytes)}
    seen = {}
    try:
        for at_once in (1, 10):
            seen[at_once] = crowd.watch(at_once)
            memory[f"after {10 * at_once} events/s, MiB"] = _mib(node.resident_bytes())
        idle = _idle(node, seconds)
        until = time.monotonic() + REST_S - seconds
        logged = {at_once: crowd.evaluated(one) for at_once, one in seen.items()}
        meanwhile()
        time.sleep(max(0.0, until - time.monotonic()))
        resting = _mib(node.resident_bytes())
    finally:
        crowd.close()
    return [
        *(figure for at_once, one in logged.items() for figure in _paced(f"{many} × {10 * at_once} events/s", one)),
        Figure(f"agent's memory, {many} at rest", resting, "MiB", 40, details=memory),
        Figure(f"agent's CPU, {many} at rest", idle * 100, "% of a core", 0.5),
        growth.by_producers({**few, producers: logged[1].agent_us}),
    ]


def _mib(size: int) -> float:
    return size / (1 << 20)


def _idle(node: BenchNode, seconds: float) -> float:
    before = node.cpu_s()
    time.sleep(seconds)
    return (node.cpu_s() - before) / seconds


def _paced(pace: str, logged: Logged) -> list[Figure]:
    details: dict[str, float | str] = {
        "p50, ms": percentile(logged.waits_ms, 0.5),
        "agent's CPU for an event, µs": logged.agent_us,
        "events": len(logged.waits_ms),
    }
    return [
        Figure(f"{pace}, shed", logged.shed, "events", 0),
        Figure(f"{pace}, call to written, p99", logged.p99_ms, "ms", 1_000, details=details),
    ]
