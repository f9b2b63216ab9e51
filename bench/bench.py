"""`make bench`: what logferry costs, each figure as a ratio to a bare loop measured in the same run.

Ours and the floor are interleaved, so that a noisy machine disturbs both. See bench/README.md for what each means.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import floor
from node import BenchNode

from logferry import spool
from logferry.session import open_run

CALLS = 5_000


def timed(call: Callable[..., None]) -> float:
    """Return nanoseconds per call with five fields."""
    began = time.perf_counter_ns()
    for number in range(CALLS):
        call("EpochEnd", epoch=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
    return (time.perf_counter_ns() - began) / CALLS


def timed_field(call: Callable[..., None]) -> float:
    began = time.perf_counter_ns()
    for number in range(CALLS):
        call("EpochEnd", epoch=number)
    return (time.perf_counter_ns() - began) / CALLS


def timed_argument(call: Callable[..., None]) -> float:
    began = time.perf_counter_ns()
    for number in range(CALLS):
        call("EpochEnd %s", number)
    return (time.perf_counter_ns() - began) / CALLS


def compare(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, float]:
    """Interleave two measurements; return minimum and median of both, and the ratios of each."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return {
        "ours_min": min(first),
        "ours_median": statistics.median(first),
        "floor_min": min(second),
        "floor_median": statistics.median(second),
        "ratio_min": min(first) / min(second),
        "ratio": statistics.median(first) / statistics.median(second),
    }


def log_calls(rounds: int) -> dict[str, dict[str, float]]:
    """A call with five fields, and one whose level is disabled, with an agent running."""
    node = BenchNode()
    node.start_agent()
    os.environ.update({key: value for key, value in node.env.items() if key.startswith("LOGFERRY_")})
    run = open_run("bench", node.settings, {}, time.time_ns, os.urandom)
    bare, again = floor.bare_call()

    def ours() -> float:
        found = timed(run.info)
        run.flush(until="durable", timeout=10)  # shipping is measured with the agent, not hidden in the next round
        return found

    def theirs() -> float:
        again()
        return timed(bare)

    result = {"log call, five fields ÷ stamp, pack, copy": compare(rounds, ours, theirs)}
    slowest = sorted(one_call(run.info) for _ in range(200_000))
    result["single calls, µs"] = {
        "p50": slowest[100_000] / 1e3,
        "p99": slowest[198_000] / 1e3,
        "p99.9": slowest[199_800] / 1e3,
        "longest": slowest[-1] / 1e3,
    }
    run.finish()
    quiet = open_run("bench", node.settings._replace(level=30), {}, time.time_ns, os.urandom)
    disabled = floor.disabled_stdlib_call()
    result["disabled call ÷ stdlib's disabled call"] = compare(
        rounds, lambda: timed_field(quiet.debug), lambda: timed_argument(disabled)
    )
    quiet.finish()
    node.close()
    return result


def one_call(call: Callable[..., None]) -> int:
    began = time.perf_counter_ns()
    call("EpochEnd", epoch=7, batch=42, loss=0.94, accuracy=0.77, phase="train")
    return time.perf_counter_ns() - began


def agent(events: int) -> dict[str, dict[str, float]]:
    """Four producers with full spools, then an agent: how fast it acks, what it uses, beside the bare loop."""
    node = BenchNode()
    producers = node.fill(4, events)
    payloads, tag = spooled(node)
    total = 4 * events
    node.start_agent()
    began, began_cpu = time.perf_counter(), node.cpu_s()
    durable_s = wait_until(node, "durable", total) - began
    written_s = wait_until(node, "written", total) - began
    cpu = node.cpu_s() - began_cpu
    bare_began = time.process_time()
    bare_events = floor.render_and_write(payloads, tag, node.root / "bare.jsonl")
    bare = time.process_time() - bare_began
    memory = node.memory_bytes()
    for one in producers:
        one.communicate()
    node.close()
    return {
        "agent, four producers": {
            "events": total,
            "events_per_s_to_ack": total / durable_s,
            "events_per_s_to_written": total / written_s,
            "cpu_us_per_event": cpu / total * 1e6,
            "bare_loop_us_per_event": bare / bare_events * 1e6,
            "ratio": (cpu / total) / (bare / bare_events),
            "memory_mib": memory / (1 << 20),
        }
    }


def spooled(node: BenchNode) -> tuple[list[tuple[int, bytes]], str]:
    """Return what one of the producers has spooled: the same bytes that the agent gets."""
    directory = next(path for path in node.node.spool.iterdir())
    slices = [found for found in spool.read_dead(directory, 0, 1 << 20) if isinstance(found, spool.Slice)]
    return [(one.first, one.payload) for one in slices], directory.name


def wait_until(node: BenchNode, level: str, events: int) -> float:
    """Return when that many events had come so far."""
    while True:
        status = node.status()
        if status and sum(one[level] for one in status["producers"]) >= events:
            return time.perf_counter()
        time.sleep(0.02)


def imports(rounds: int) -> dict[str, dict[str, float]]:
    """What `import logferry` takes beyond its two dependencies, from bytecode as an installed package has it."""
    with tempfile.TemporaryDirectory() as cache:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache

        def seconds() -> tuple[float, float]:
            timing = (
                "import time; a = time.perf_counter()\nimport zmq, msgpack\n"
                "b = time.perf_counter()\nimport logferry\nprint(time.perf_counter() - b, b - a)"
            )
            done = subprocess.run([sys.executable, "-c", timing], env=env, capture_output=True, check=True, text=True)
            own, dependencies = map(float, done.stdout.split())
            return own, dependencies

        seconds()
        both = [seconds() for _ in range(rounds)]
    return {
        "import logferry, ms": {
            "beyond_dependencies_min": min(own for own, _ in both) * 1e3,
            "beyond_dependencies_median": statistics.median(own for own, _ in both) * 1e3,
            "dependencies_min": min(dependencies for _, dependencies in both) * 1e3,
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--events", type=int, default=500_000, help="events of each of the four producers")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    figures = {**log_calls(options.rounds), **agent(options.events), **imports(15)}
    for name, values in figures.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:<28} {value:,.3f}" if value < 1000 else f"  {key:<28} {value:,.0f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
