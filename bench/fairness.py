"""One producer at full speed beside many that trickle: how long a trickle's event takes until it is durable.

Both are measured in one run: the loud one logs in every other phase only, and is silent in between. What a phase leaves
behind is given time to go before the next is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from measure import Figure, percentile
from node import BenchNode

# So many producers share a process; each has a thread of its own that logs.
_PER_PROCESS = 10
# Of a phase so much is not measured.
_SETTLE = 0.4

# Each producer logs once in a while and waits until that is durable; prints (when, how long in ms).
TRICKLE = """
import json, sys, threading, time, logferry
count, first, began, until, period = int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:6])
runs = [logferry.init("trickle", run_id=f"t{first + n}") for n in range(count)]
for run in runs: run.flush(timeout=60)
found = []
def trickle(run, place):
    at = began + period * place
    while at < until:
        time.sleep(max(0.0, at - time.time()))
        called = time.perf_counter()
        run.info("Tick", at=at)
        delivery = run.flush("durable", 30)
        found.append((at, (time.perf_counter() - called) * 1e3, delivery.durable >= delivery.emitted))
        at += period
threads = [threading.Thread(target=trickle, args=(run, n / count)) for n, run in enumerate(runs)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
"""

# Logs as fast as it can in every second phase; prints how many calls that were, and how many were shed.
LOUD = """
import json, sys, time, logferry
began, until, phase_s = map(float, sys.argv[1:4])
run = logferry.init("loud", run_id="loud")
calls = 0
while (now := time.time()) < until:
    phase = int((now - began) / phase_s) if now >= began else 0
    if phase % 2 == 0:
        time.sleep(0.002)
        continue
    for _ in range(1000):
        run.info("EpochEnd", epoch=calls, batch=42, loss=0.94, accuracy=0.77, phase="train")
        calls += 1
print(json.dumps([calls, run.flush("spooled").shed]))
"""


def measure(trickles: int, phases: int, phase_s: float, period_s: float) -> dict[str, Any]:
    """Return p50 and p99 in ms without and with the loud one, and what that one did."""
    node = BenchNode()
    node.config("spool_bytes = 4194304\n")  # what a loud phase leaves behind is gone soon
    try:
        node.start_agent()
        processes = -(-trickles // _PER_PROCESS)
        began = time.time() + 3 + 0.25 * processes
        until = began + 2 * phases * phase_s
        loud = _start(node, LOUD, began, until, phase_s)
        counts = [min(_PER_PROCESS, trickles - place * _PER_PROCESS) for place in range(processes)]
        jobs = [
            _start(node, TRICKLE, count, place * _PER_PROCESS, began, until, period_s)
            for place, count in enumerate(counts)
        ]
        said = [tick for job in jobs for tick in json.loads(job.communicate()[0])]
        calls, shed = json.loads(loud.communicate()[0])
    finally:
        node.close()
    waits: list[list[float]] = [[], []]
    for at, wait_ms, durable in said:
        assert durable, f"not durable after {wait_ms:.0f} ms"
        phase, within = divmod((at - began) / phase_s, 1)
        if within >= _SETTLE:
            waits[int(phase) % 2].append(wait_ms)
    quiet, noisy = waits
    return {
        "ratio": percentile(noisy, 0.99) / percentile(quiet, 0.99),
        "without": (percentile(quiet, 0.5), percentile(quiet, 0.99), len(quiet)),
        "with": (percentile(noisy, 0.5), percentile(noisy, 0.99), len(noisy)),
        "loud": (calls, shed),
    }


def _start(node: BenchNode, code: str, *arguments: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=node.env, stdout=subprocess.PIPE)


def figures(trickles: int, phases: int) -> list[Figure]:
    found = measure(trickles, phases, 4.0, 1.0)
    details: dict[str, float | str] = {"loud: calls": found["loud"][0], "shed": found["loud"][1]}
    for name in ("without", "with"):
        details |= dict(zip((f"{name}: p50, ms", f"{name}: p99", f"{name}: events"), found[name], strict=True))
    name = f"call to durable of {trickles} that trickle, with ÷ without a loud one, p99"
    return [Figure(name, found["ratio"], "×", 3, details=details)]
