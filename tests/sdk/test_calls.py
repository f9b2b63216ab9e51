"""What one log call may cost: memory is written, and nothing is waited for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import logferry
from logferry.segment import HEADER
from support.agents import AgentProcess
from support.mapped import Logged
from support.node import Node, wait_for


def _system_calls() -> tuple[int, int]:
    """Return how many reads and writes this thread made."""
    said = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
    return int(said["syscr"]), int(said["syscw"])


def test_a_call_that_fits_reads_and_writes_nothing_but_memory(root: Path) -> None:
    logged = Logged(root)
    logged.run.info("First")
    before = _system_calls()
    cost = _system_calls()[0] - before[0]  # of asking
    before = _system_calls()
    for number in range(300):
        logged.run.info("Tick", epoch=number, loss=0.94)
    reads, writes = _system_calls()
    assert (reads - before[0] - cost, writes - before[1]) == (0, 0)
    assert len(list(root.glob("*.seg"))) == 1


def test_the_bytes_of_an_event_are_in_the_file_when_its_call_returns(root: Path) -> None:
    logged = Logged(root)
    segment = root / "00000001.seg"
    for number in range(50):
        logged.run.info("Tick", mark=f"event number {number}.")
        assert f"event number {number}.".encode() in segment.read_bytes()[HEADER.size :]


def test_calls_go_on_at_their_pace_while_the_agent_stands_still(node_dir: Path, home: Path) -> None:
    with AgentProcess(node_dir, home) as agent, logferry.init("exp", run_id="r") as run:
        run.info("First")
        assert run.flush(timeout=20).durable >= 2
        agent.process.send_signal(signal.SIGSTOP)
        try:
            slowest = 0.0
            for number in range(20_000):
                began = time.monotonic()
                run.info("Tick", number=number, ballast="x" * 100)
                slowest = max(slowest, time.monotonic() - began)
            # No deadline of anybody's is waited for; the scheduler of a busy machine may take a turn away.
            assert slowest < 0.9
            assert run.flush(timeout=0).emitted >= 20_000
        finally:
            agent.process.send_signal(signal.SIGCONT)
        wait_for("all is durable", lambda: run.flush(timeout=1).durable >= 20_002)


def test_the_longest_possible_stop_of_the_disk_is_not_in_a_call(node_dir: Path, home: Path) -> None:
    """With the results' file system hanging, calls and `result` return at once."""
    code = (
        "import time, logferry\nfrom logferry import results\n"
        "run = logferry.init('exp', run_id='r')\n"
        "results.replace = lambda *_: time.sleep(60)\n"
        "began = time.monotonic()\n"
        "for n in range(100): run.result({'n': n}); run.info('Tick', n=n)\n"
        "print(time.monotonic() - began, flush=True)\n"
        "import os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert float(done.stdout or "9") < 1, done.stderr


@pytest.mark.parametrize("lacking", ["_ctypes", "ctypes"])
def test_a_python_that_was_built_without_ctypes_logs_all_the_same(lacking: str, node: Node) -> None:
    node.agent()
    job = node.run_job(
        f"import sys; sys.modules[{lacking!r}] = None\n"
        "import logferry\n"
        "with logferry.init('exp', run_id='r') as run:\n"
        "    for number in range(20_000): run.info('Tick', number=number)\n"
        "    delivery = run.flush(timeout=20)\n"
        "    assert delivery.durable == delivery.emitted > 20_000, delivery\n"
    )
    assert (job.returncode, job.stderr) == (0, "")
