"""Producers that are silent for minutes let their connections go: they cost an agent nothing, and miss nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import logferry
from logferry import shipper, wire
from logferry.dealer import Dealer
from logferry.run import Run
from logferry_agent.rouse import Rouse
from support.agents import AgentProcess, status
from support.fakeagent import FakeAgent
from support.node import Node, wait_for

# Coming back takes a few milliseconds, and no sleep, of which none ends within this time.
SOON_S = 5.0


RESTING: list[Dealer] = []


@pytest.fixture(autouse=True)
def short_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    RESTING.clear()
    really = Dealer.rest

    def rest_and_tell(dealer: Dealer) -> None:
        really(dealer)
        RESTING.append(dealer)

    monkeypatch.setattr(Dealer, "rest", rest_and_tell)
    monkeypatch.setattr(shipper, "_NAP_S", 0.05)
    monkeypatch.setattr(shipper, "_SLEEP_S", 0.05)


def rests() -> bool:
    return any(one.rests for one in RESTING)


def ship(run: Run) -> shipper.Shipper:
    assert run._producer is not None
    return run._producer.shipper


def sockets(agent: AgentProcess) -> int:
    return sum(target.startswith("socket:") for target in agent.descriptors())


def rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until the only producer has no connection, and have it sleep for long from then on."""
    wait_for("it rests", rests)
    monkeypatch.setattr(shipper, "_SLEEP_S", 60.0)
    monkeypatch.setattr(shipper, "_NAP_S", 1.0)


def soon(what: str, condition: Callable[[], object]) -> None:
    began = time.monotonic()
    wait_for(what, condition)
    assert time.monotonic() - began < SOON_S


def test_a_silent_producer_lets_its_connection_go(agent: AgentProcess, node_dir: Path, home: Path) -> None:
    before = sockets(agent)
    with logferry.init("exp", run_id="r") as run:
        run.flush("durable", timeout=20)
        wait_for("the agent has a socket less", lambda: rests() and sockets(agent) == before)


def test_it_is_back_with_its_next_event_and_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for sleep_s in (0.05, 0.05):
        monkeypatch.setattr(shipper, "_NAP_S", sleep_s)
        monkeypatch.setattr(shipper, "_SLEEP_S", sleep_s)
        rest(monkeypatch)
        before = ship(run).durable
        run.info("Tick")
        soon("the event is durable", lambda before=before: ship(run).durable == before + 1)


def test_a_level_is_in_force_at_once(run: Run, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    rest(monkeypatch)
    done = node.call("level", "exp", "ERROR", LOGFERRY_NODE_DIR=os.environ["LOGFERRY_NODE_DIR"])
    assert "told: 1" in done.stdout
    soon("the level is in force", lambda: run._hot.level == 40)


def test_an_agent_that_was_restarted_knows_it_at_once(
    run: Run, agent: AgentProcess, node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest(monkeypatch)
    agent.stop(signal.SIGKILL)
    with AgentProcess(node_dir, home) as another:
        soon(
            "it is connected",
            lambda: [one["connected"] for one in status(node_dir, home)["agent"]["producers"]] == [True],
        )
        before = ship(run).durable
        run.info("Tick")
        soon("the event is durable", lambda: ship(run).durable == before + 1)
        another.stop()


def test_its_result_and_its_end_wait_for_no_sleep(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest(monkeypatch)
    began = time.monotonic()
    run.result({"loss": 1})
    run.finish()
    assert time.monotonic() - began < SOON_S / 2
    assert b'"loss"' in (home / "results" / "exp" / "r.json").read_bytes()


def test_who_keeps_events_in_memory_stays_connected(run: Run, agent: AgentProcess) -> None:
    """Of such a producer its connection may be all that says that it lives."""
    ship(run)._about["spool"] = "memory"
    wait_for("it is woken and sleeps long", lambda: ship(run)._sleeps > shipper._SLEEPS + 2)
    assert not rests()


def test_so_does_everybody_where_an_agent_holds_nothing_open(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    agent = FakeAgent(node_dir / "agent.sock")
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        agent.until(lambda: ship(run)._sleeps > shipper._SLEEPS + 2)
        assert not rests()
        agent.until(lambda: (run.finish(), True))
    agent.close()


def test_it_does_not_go_before_the_agent_has_answered_that_it_may(node_dir: Path, home: Path) -> None:
    """What the agent said before is on its way until then."""
    node_dir.mkdir(mode=0o700)
    agent, rouse = FakeAgent(node_dir / "agent.sock"), Rouse(node_dir / "agent.rouse")
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        agent.welcomes = False
        rouse.renew()
        agent.until(lambda: ship(run)._sleeps > shipper._SLEEPS + 2)
        assert not rests()
        agent.welcomes = True
        agent.send(wire.Welcome(ship(run)._producer, agent.durable + 1, None, 1 << 20, 0))
        agent.until(rests)
        rouse.close()
        agent.until(lambda: (run.finish(), True))
    agent.close()


def test_it_stays_while_something_is_on_its_way(node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node_dir.mkdir(mode=0o700)
    agent, rouse = FakeAgent(node_dir / "agent.sock"), Rouse(node_dir / "agent.rouse")
    rouse.renew()
    said: list[bool] = []
    really = Dealer.be_rousable

    def log_meanwhile(dealer: Dealer) -> bool:
        if not said:  # before the welcome that lets it go
            agent.acks = False
            said.append(really(dealer))
            run.info("Tick")
            return said[0]
        return really(dealer)

    monkeypatch.setattr(Dealer, "be_rousable", log_meanwhile)
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "Tick" in agent.names, timeout_s=20)
        agent.listen(0.5)  # ten sleeps
        assert not RESTING
        agent.acks = True
        agent.until(lambda: not ship(run)._buffer.unacked_bytes(), timeout_s=20)
        agent.until(rests, timeout_s=20)
        rouse.close()
        agent.until(lambda: (run.finish(), True))
    agent.close()
