"""`logferry up` in a batch script: services live as long as the command; everything is there when it returns."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node import Node, wait_for

JOB = """
import os, signal, sys, time, logferry
with logferry.init("batch", config={"task": os.environ.get("SLURM_PROCID", "")}) as run:
    for number in range(200):
        run.info("Tick", number=number)
    run.result({"ticks": 200})
    os.write(1, b"ready\\n")  # print() may take two writes, and the tasks share a pipe
    time.sleep(float(os.environ.get("JOB_SLEEP", 0)))
sys.exit(int(os.environ.get("JOB_EXIT", 0)))
"""
# Its agent is killed again as soon as it is back, so that the next one has to wait; and then the job is gone.
WITHOUT_AGENT = """
import os, signal, sys, time, logferry
from logferry.layout import NodeDir
from logferry.settings import load
from logferry.spool import lock_holder
run = logferry.init("batch")
killed = None
for _ in range(2):
    while (agent := lock_holder(NodeDir(load().node_dir).lock)) in (None, killed):
        time.sleep(0.005)
    os.kill(agent, signal.SIGKILL)
    killed = agent
for number in range(200):
    run.info("Tick", number=number)
os._exit(3)
"""
# Stands in for srun: starts the tasks of a step with Slurm's variables, passes SIGTERM on, and hands on the worst code.
SRUN = """#!{python}
import os, signal, subprocess, sys
tasks = [subprocess.Popen(sys.argv[1:], env=os.environ | {{"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0",
         "SLURM_NTASKS": "2", "SLURM_PROCID": str(n)}}) for n in range(2)]
signal.signal(signal.SIGTERM, lambda number, _: [task.send_signal(number) for task in tasks])
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""


@pytest.fixture
def srun(node: Node) -> Path:
    path = node.root / "srun"
    path.write_text(SRUN.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _ended(node: Node) -> Iterator[None]:
    """End what a test that fails leaves running."""
    yield
    for pid in _still_running(node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _up(node: Node, *command: str | Path, **env: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "logferry", "up", "--", *map(str, command)],
        env=node.env | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    node.processes.append(process)  # type: ignore[arg-type]
    return process


def _still_running(node: Node) -> list[str]:
    """Return the processes whose environment names this test's node directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(node.dir).encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_everything_is_written_and_stored_when_up_returns_and_the_exit_code_is_the_commands(
    node: Node, srun: Path
) -> None:
    program = node.root / "train.py"
    program.write_text(JOB)
    process = _up(node, srun, sys.executable, program, JOB_EXIT="3")
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert node.asked("verify")["complete"]
    rows = node.asked("results")
    assert [(row["metrics"], row["group"]) for row in rows] == [({"ticks": 200}, "slurm-77.0")] * 2
    assert len({row["run_id"] for row in rows}) == 2
    assert not node.asked("status")["agent"]["up"]
    assert _still_running(node) == []


def test_where_the_agent_ended_last_another_one_writes_what_was_left(node: Node) -> None:
    process = _up(node, sys.executable, "-c", WITHOUT_AGENT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "not written yet" not in said
    assert sum(line["event"] == "Tick" for line in node.lines()) == 200
    assert node.asked("verify")["complete"]
    assert len(node.asked("results")) == 1
    assert _still_running(node) == []


def test_sigterm_reaches_the_command_and_everything_is_drained_within_25_seconds(node: Node, srun: Path) -> None:
    program = node.root / "train.py"
    program.write_text(JOB)
    process = _up(node, srun, sys.executable, program, JOB_SLEEP="100")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    assert time.monotonic() - began < 25
    assert process.returncode == 128 + signal.SIGTERM
    assert {(row["status"], row["exit"]["signal"]) for row in node.asked("results")} == {("KILLED", "SIGTERM")}
    assert node.asked("verify")["complete"]


def test_a_command_that_does_not_exist_is_said_and_leaves_nothing_running(node: Node) -> None:
    process = _up(node, "/no/such/command")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 127
    assert "/no/such/command: No such file or directory" in said
    assert node.asked("status")["agent"]["up"] is False


def test_an_agent_that_serves_the_node_already_is_used_and_left_running(node: Node) -> None:
    agent = node.agent()
    process = _up(node, sys.executable, "-c", JOB)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert agent.poll() is None
    assert node.asked("verify")["complete"]
    assert [row["status"] for row in node.asked("results")] == ["COMPLETED"]


def test_in_the_foreground_it_says_where_things_are_and_ends_with_sigterm(node: Node) -> None:
    process = _up(node)
    assert process.stdout is not None
    assert str(node.dir) in process.stdout.readline()
    wait_for("the agent answers", lambda: node.asked("status")["agent"]["up"])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
