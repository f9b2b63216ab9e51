"""Producers that log nothing for a time: they cost nothing, and miss nothing that happens meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from logferry import shipper
from logferry.run import Run
from support.agents import AgentProcess, status
from support.node import Node, wait_for

# What is noticed at once takes a few milliseconds, and no full sleep.
SOON_S = 5.0


@pytest.fixture(autouse=True)
def _short_nap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "_NAP_S", 0.2)


def fall_asleep(run: Run) -> None:
    """Wait until nothing but a call or a frame ends the sleep of the run's thread for half a minute."""
    assert run._producer is not None
    ship = run._producer.shipper
    wait_for("the shipper rests", lambda: ship._rested and ship._buffer.asleep)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Say whether the condition comes true in time; asking wakes nobody."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def durable(run: Run) -> int:
    assert run._producer is not None
    return run._producer.shipper.durable


def wake_ups(run: Run) -> int:
    assert run._producer is not None
    thread = run._producer.shipper._thread.native_id
    said = Path(f"/proc/self/task/{thread}/status").read_text()
    return int(said.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_a_quiet_producer_does_not_wake_up(run: Run) -> None:
    fall_asleep(run)
    before = wake_ups(run)
    time.sleep(2.5)  # the time in which nothing is to happen
    assert wake_ups(run) - before <= 1


def test_after_a_quiet_time_an_event_is_durable_as_fast_as_usual(run: Run) -> None:
    for _ in range(3):
        fall_asleep(run)
        before = durable(run)
        run.info("Tick")
        assert within(SOON_S, lambda before=before: durable(run) == before + 1)  # type: ignore[misc]


def test_an_agent_that_was_restarted_in_a_quiet_time_gets_the_next_event_at_once(
    run: Run, agent: AgentProcess, node_dir: Path, home: Path
) -> None:
    fall_asleep(run)
    agent.stop(signal.SIGKILL)
    with AgentProcess(node_dir, home):
        before = durable(run)
        run.info("Tick")
        assert within(SOON_S, lambda: durable(run) == before + 1)


def test_an_agent_that_was_restarted_knows_a_quiet_producer_and_is_known_to_it(
    run: Run, agent: AgentProcess, node_dir: Path, home: Path
) -> None:
    fall_asleep(run)
    agent.stop(signal.SIGKILL)
    with AgentProcess(node_dir, home) as another:

        def knows() -> bool:
            return [one["connected"] for one in status(node_dir, home)["agent"]["producers"]] == [True]

        assert within(SOON_S, knows)
        fall_asleep(run)
        before = durable(run)
        run.info("Tick")
        assert within(SOON_S, lambda: durable(run) == before + 1)
        another.stop()


def test_an_event_of_a_quiet_time_without_an_agent_is_taken_by_the_next_one(
    run: Run, agent: AgentProcess, node_dir: Path, home: Path
) -> None:
    fall_asleep(run)
    agent.stop(signal.SIGKILL)
    before = durable(run)
    run.info("Tick")
    with AgentProcess(node_dir, home):
        assert within(SOON_S, lambda: durable(run) == before + 1)


def test_a_level_that_is_set_in_a_quiet_time_is_in_force_at_once(run: Run, node: Node) -> None:
    fall_asleep(run)
    assert node.call("level", "exp", "ERROR", LOGFERRY_NODE_DIR=os.environ["LOGFERRY_NODE_DIR"]).returncode == 0
    assert within(SOON_S, lambda: run._hot.level == 40)


def test_a_result_and_the_end_of_a_quiet_run_wait_for_no_sleep(run: Run, home: Path) -> None:
    fall_asleep(run)
    run.result({"loss": 1})
    path = home / "results" / "exp" / "r.json"
    assert within(SOON_S, lambda: b'"loss"' in path.read_bytes())
    fall_asleep(run)
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < SOON_S / 2


def test_a_child_of_a_quiet_parent_and_the_parent_itself_are_heard_at_once(node: Node) -> None:
    node.agent()
    job = node.run_job(
        "import os, time, logferry\n"
        "run = logferry.init('exp', run_id='r')\n"
        "ship = run._producer.shipper\n"
        "while not ship._rested: time.sleep(0.01)\n"
        "pid = os.fork()\n"
        "began = time.monotonic()\n"
        "run.info('Tick', who='parent' if pid else 'child')\n"
        "made = run._producer.shipper\n"
        "while not made.durable >= run.flush('spooled').emitted: time.sleep(0.001)\n"
        "assert time.monotonic() - began < 5\n"
        "assert (made is ship) == bool(pid)\n"
        "pid and os.waitpid(pid, 0)\n"
        "run.finish()\n"
    )
    assert job.returncode == 0, job.stderr
    wait_for("both are written", lambda: {one.get("who") for one in node.lines()} >= {"parent", "child"})


def test_a_call_that_came_past_the_level_check_before_the_thread_slept_waits_for_no_full_sleep(run: Run) -> None:
    """The record is put down after the thread looked for the last time, by a call that saw it awake."""
    assert run._producer is not None
    ship = run._producer.shipper

    def logged_in_the_nap() -> bool:
        run.info("Awake")
        wait_for("it naps", lambda: ship._buffer.asleep and durable(run) == run.flush("spooled").emitted)
        run._hot.threshold = 0  # what such a call has read
        run.info("Late")
        return not ship._rested

    wait_for("a call in the first moment of a sleep", logged_in_the_nap)
    assert within(shipper._NAP_S + SOON_S, lambda: durable(run) == run.flush("spooled").emitted)


def test_a_value_that_takes_longer_to_be_described_than_the_thread_stays_awake_wakes_it(run: Run) -> None:
    class Slow:
        def __repr__(self) -> str:
            fall_asleep(run)
            return "slow"

    before = durable(run)
    run.info("Tick", value=Slow())
    assert within(SOON_S, lambda: durable(run) == before + 1)
