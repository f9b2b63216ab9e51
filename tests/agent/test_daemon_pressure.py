"""The agent under load and under failures: killed again and again, one output held, the disk of the journal failing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from logferry import wire
from support.agents import AgentProcess, lines, status, wait_for
from support.intake import Client, batch, client

A, B = "aaaaaaaa", "bbbbbbbb"

_JOB = """
import time, logferry
with logferry.init("exp", run_id="run") as run:
    for number in range(6000):
        run.info("Step", number=number)
        if number % 10 == 0:
            time.sleep(0.003)
"""


def test_events_are_in_the_log_once_and_in_order_after_the_agent_was_killed_three_times(
    node_dir: Path, home: Path
) -> None:
    job = subprocess.Popen([sys.executable, "-c", _JOB], env=os.environ)
    for kept in (200, 1500, 3000):
        with AgentProcess(node_dir, home) as agent:
            wait_for(lambda kept=kept: len(lines(home)) > kept)
            agent.stop(signal.SIGKILL)
    with AgentProcess(node_dir, home):
        assert job.wait(60) == 0
        wait_for(lambda: any(line["event"] == "logferry.seal" for line in lines(home)))
    own = [line for line in lines(home) if not line["seq"].startswith("agent-")]
    assert [int(line["seq"].split("-")[1]) for line in own] == list(range(1, len(own) + 1))
    assert [line["number"] for line in own if line["event"] == "Step"] == list(range(6000))
    seal = lines(home)[-1]
    assert (seal["emitted"], seal["written"], seal["end"]) == (len(own), len(own), "finished")


_LOUD = """
import logferry, os
number = 0
while number < 19 and os.fork():
    number += 1
run = logferry.init("loud", run_id=f"r{number}")
while True:
    run.info("Tick", text="x" * 50)
"""


def test_sigterm_under_full_load_ends_in_time_and_says_what_is_left(node_dir: Path, home: Path) -> None:
    job = subprocess.Popen([sys.executable, "-c", _LOUD], env=os.environ, start_new_session=True)
    try:
        with AgentProcess(node_dir, home, "--drain-s", "3") as agent:
            wait_for(lambda: len(list(home.glob("logs/loud/*/*.jsonl"))) == 20)
            began = time.monotonic()
            code = agent.stop()
            # some more for noticing the signal and for the interpreter's end, on cores that all of them share
            assert time.monotonic() - began < 3 + 7
            assert (code == 0) == ("not written yet" not in agent.said())
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait(20)


def test_over_budget_only_the_producers_of_a_held_run_are_refused_and_all_arrives_in_the_end(
    root: Path, node_dir: Path, home: Path
) -> None:
    config = root / "logferry.toml"
    config.write_text("[agent]\njournal_bytes = 1048576\njournal_segment_bytes = 65536\n")
    (home / "logs" / "exp").mkdir(parents=True)
    obstacle = home / "logs" / "exp" / "held"
    obstacle.write_text("in the way")
    with AgentProcess(node_dir, home, config=config):
        asyncio.run(asyncio.wait_for(_press(node_dir, home, obstacle.unlink), 40))
        wait_for(lambda: status(node_dir, home)["agent"]["held"] == [])


async def _press(node_dir: Path, home: Path, clear: Callable[[], None]) -> None:
    async with client(f"ipc://{node_dir}/agent.sock") as held, client(f"ipc://{node_dir}/agent.sock") as other:
        await held.greet(A, run_id="held", spool="memory", pid=os.getpid())
        await other.greet(B, run_id="fine", spool="memory", pid=os.getpid())
        await held.say(batch(A, 1, 10))
        await held.acked(A, 10)
        await asyncio.to_thread(wait_for, lambda: status(node_dir, home)["agent"]["held"])
        sent = await _send_until_refused(held, 10)
        await other.say(batch(B, 1, 10))
        await other.acked(B, 10)
        clear()
        refused = True
        while refused:
            await held.say(batch(A, sent + 1, 10))
            frame = await held.hear()
            while isinstance(frame, wire.Ack) and frame.durable < sent + 10:
                frame = await held.hear()
            refused = isinstance(frame, wire.Nack)
            await asyncio.sleep(0.05)
    log = home / "logs" / "exp" / "held"
    own = await asyncio.to_thread(wait_for, lambda: _numbers(log, sent + 10))
    assert own == list(range(1, sent + 11))


async def _send_until_refused(one: Client, sent: int) -> int:
    """Send batches of 1,000 events one after the other; return the last number that was acked."""
    while True:
        await one.say(batch(A, sent + 1, 1000))
        frame = await one.hear()
        while isinstance(frame, wire.Ack) and frame.durable < sent + 1000:
            frame = await one.hear()
        if isinstance(frame, wire.Nack):
            assert frame == wire.Nack(A, sent + 1, "full")
            return sent
        sent += 1000


def _numbers(log: Path, count: int) -> list[int] | None:
    found = [json.loads(line) for file in log.glob("*.jsonl") for line in file.read_bytes().split(b"\n")[:-1]]
    numbers = [int(line["seq"].split("-")[1]) for line in found if line["seq"].startswith(A)]
    return numbers if len(numbers) >= count else None
