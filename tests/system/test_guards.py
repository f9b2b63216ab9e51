"""Wide guards, twice the goal of `make bench`: a fall of the ratios is seen at once, the noise of a machine is not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import floor
import pytest

import logferry
from support.node import Node

pytestmark = pytest.mark.guard
CALLS, ROUNDS = 5_000, 15


def _ns_per_call(call: Callable[..., None], disabled: bool) -> float:
    began = time.perf_counter_ns()
    if disabled:
        for number in range(CALLS):
            call("EpochEnd", epoch=number)
    else:
        for number in range(CALLS):
            call("EpochEnd", epoch=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
    return (time.perf_counter_ns() - began) / CALLS


def _stdlib_ns_per_call(call: Callable[..., None]) -> float:
    began = time.perf_counter_ns()
    for number in range(CALLS):
        call("EpochEnd %s", number)
    return (time.perf_counter_ns() - began) / CALLS


@pytest.fixture
def agent(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    for name, value in node.env.items():
        monkeypatch.setenv(name, value)
    node.agent()
    return node


def test_a_log_call_costs_at_most_three_times_stamp_pack_and_copy(agent: Node) -> None:
    bare, again = floor.bare_call(16 << 20)
    with logferry.init("guard") as run:
        ours, theirs = [], []
        for _ in range(ROUNDS):
            again()
            theirs.append(_ns_per_call(bare, disabled=False))
            ours.append(_ns_per_call(run.info, disabled=False))
            run.flush(timeout=10)
    assert min(ours) <= 3 * min(theirs)


def test_a_disabled_call_costs_at_most_twice_stdlibs(agent: Node) -> None:
    disabled = floor.disabled_stdlib_call()
    with logferry.init("guard", level="ERROR") as run:
        pairs = [(_ns_per_call(run.debug, disabled=True), _stdlib_ns_per_call(disabled)) for _ in range(ROUNDS)]
    assert min(ours for ours, _ in pairs) <= 2 * min(theirs for _, theirs in pairs)


def test_the_agent_needs_at_most_three_and_a_half_times_the_bare_loop(root: Path) -> None:
    sys.path.insert(0, str(Path(floor.__file__).parent))
    import bench

    (figures,) = bench.agent(60_000).values()
    assert figures["ratio"] <= 3.4
    assert figures["memory_mib"] <= 300


def test_importing_takes_no_longer_than_its_two_dependencies() -> None:
    code = "import time; a = time.perf_counter(); import zmq, msgpack; b = time.perf_counter(); import logferry\n"
    code += "print((time.perf_counter() - b) / (b - a))"
    ratios = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(5)
    ]
    assert min(ratios) <= 2
