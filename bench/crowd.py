"""Many processes at once: forked callers, training loops beside an agent, and a thousand producers."""

from __future__ import annotations

import json
import mmap
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import growth
from many import Logged, Many
from measure import Figure, Spread, interleaved, ns_per_call, percentile, ratio
from node import BenchNode

import logferry

FORKS, TRAINERS = 4, 8
# Silent producers let their connections go after two minutes, and the agent then gives memory back within 20 s.
REST_S = 150.0

# Steps of about a millisecond of work; logs one event a step in two of four phases. Prints steps by phase.
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
    if phase % 4 >= 2:
        run.info("StepEnd", step=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
    steps[phase] += 1
    cpu[phase] += time.process_time() - before
    number += 1
print(json.dumps([steps, cpu]))
run.finish()
"""


def figures(rounds: int, phases: int, producers: int, meanwhile: Callable[[], None]) -> list[Figure]:
    """Measure; `meanwhile` does what other groups need done, while nothing is measured."""
    return [forks(rounds), *training(phases), *thousand(producers, meanwhile)]


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
    """Eight training loops of 1 ms steps, silent for two phases and logging for two, and what that slows them down."""
    node = BenchNode()
    # Batches, acks and outputs follow a call for up to a second: the first phase of its kind pays for the one before.
    # Longer ones would not meet the same machine, whose speed changes.
    phase_s, phases = 1.0, 4 * (phases // 2)
    try:
        node.start_agent()
        began = time.time() + 4
        arguments = [str(began), str(phases), str(phase_s)]
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", TRAIN, *arguments, f"run{number}"], env=node.env, stdout=subprocess.PIPE
            )
            for number in range(TRAINERS)
        ]
        said = [json.loads(job.communicate()[0]) for job in jobs]
    finally:
        node.close()
    steps = [sum(one[0][phase] for one in said) for phase in range(phases)]
    costs = [sum(one[1][phase] for one in said) / max(1, steps[phase]) for phase in range(phases)]
    slower = [silent / max(1, logging) for silent, logging in zip(steps[1::4], steps[3::4], strict=True)]
    own = [logging / silent for silent, logging in zip(costs[1::4], costs[3::4], strict=True)]
    details: dict[str, float | str] = {
        "step, ms of CPU": Spread.of(costs).median * 1e3,
        "standard error": statistics.stdev(slower) / len(slower) ** 0.5,
        "steps per second": sum(steps) / (phases * phase_s),
    }
    error: dict[str, float | str] = {"standard error": statistics.stdev(own) / len(own) ** 0.5}
    return [
        Figure("training loops, silent ÷ logging, agent included", statistics.mean(slower), "×", details=details),
        Figure("training step with an event ÷ without, CPU of the job", statistics.mean(own), "×", 1.01, details=error),
    ]


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
