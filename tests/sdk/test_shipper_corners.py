"""The shipper thread without what it needs: a silent agent, no socket, no thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import logferry
from logferry import diagnostics, results, shipper, wire
from logferry import run as runs
from logferry.dealer import Dealer
from logferry.run import Run
from support.fakeagent import FakeAgent
from support.node import wait_for


@pytest.fixture
def agent(node_dir: Path) -> Iterator[FakeAgent]:
    node_dir.mkdir(mode=0o700)
    found = FakeAgent(node_dir / "agent.sock")
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _nothing_said_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "_said", {})


def _hellos(agent: FakeAgent) -> int:
    return sum(isinstance(frame, wire.Hello) for frame in agent.frames)


def _thread_time(run: Run) -> float:
    """Return the processor time of the run's thread so far, in seconds."""
    times: list[float] = []
    assert run._producer is not None
    run._producer.shipper.submit(lambda: times.append(time.thread_time())).wait(30)
    return times[0]


def test_an_agent_that_does_not_answer_costs_no_processor_time(agent: FakeAgent, home: Path) -> None:
    agent.welcomes = False
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: _hellos(agent))
        before = _thread_time(run)
        agent.listen(0.8)
        assert _thread_time(run) - before < 0.1


def test_an_agent_that_reads_nothing_more_costs_no_processor_time(agent: FakeAgent, home: Path) -> None:
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        for number in range(30_000):
            run.info("Tick", number=number, ballast="x" * 100)
        run.flush(timeout=0.1)
        before = _thread_time(run)
        time.sleep(0.5)  # the time in which nothing is to happen
        assert _thread_time(run) - before < 0.1


def test_an_agent_that_goes_while_all_is_acked_is_missed(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipper, "_NO_AGENT_S", 0.05)
    node_dir.mkdir(mode=0o700)
    agent = FakeAgent(node_dir / "agent.sock")
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: run.flush(timeout=0).durable == run.flush("spooled").emitted)
        agent.close()
        said = ""

        def misses() -> bool:
            nonlocal said
            run.info("Tick")
            said += capsys.readouterr().err
            return "no agent" in said

        wait_for("the line", misses)
    assert str(node_dir / "spool") in said


def test_a_silent_agent_is_asked_once_a_second(agent: FakeAgent, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, send = list[float](), Dealer.send

    def noted(dealer: Dealer, frame: wire.Frame) -> bool:
        at, is_sent = time.monotonic(), send(dealer, frame)
        asked.extend([at] * is_sent)  # before there is a connection it is refused
        return is_sent

    monkeypatch.setattr(Dealer, "send", noted)
    agent.welcomes = False
    with logferry.init("exp", run_id="r"):
        agent.until(lambda: _hellos(agent) >= 2 and len(asked) >= 2)
        assert asked[1] - asked[0] > 0.8


def test_without_an_ack_it_says_hello_again_though_it_goes_on_sending(agent: FakeAgent, home: Path) -> None:
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        agent.listen(0.1)
        agent.acks, before = False, _hellos(agent)

        def trickle() -> bool:
            run.info("Tick")
            agent.listen(0.05)
            return _hellos(agent) > before

        agent.until(trickle)
        agent.acks = True


def test_an_agent_that_expects_what_is_gone_is_told_of_and_stops_nothing(
    agent: FakeAgent, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        run.flush(timeout=0)
        agent.listen(0.1)
        producer = agent.batches[0].producer
        agent.send(wire.Welcome(producer, 10_000, None, 1 << 20, 0))
        said = ""

        def heard() -> bool:
            nonlocal said
            agent.listen(0.01)
            said += capsys.readouterr().err
            return "expects event 10000" in said

        agent.until(heard)
        run.info("Goes on")
        agent.send(wire.Welcome(producer, agent.durable + 1, None, 1 << 20, 0))
        agent.until(lambda: "Goes on" in agent.names)


def test_frames_that_make_no_sense_are_passed_over(agent: FakeAgent, home: Path) -> None:
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        producer = agent.batches[0].producer
        for parts in ([b""], [b"x", b"y", b"z"], [b"ack", b"\xc1", b""], [b"batch", b"", b""], [b""] * 9):
            agent._router.send_multipart([agent.identity, *parts])
        agent.send(wire.Ack("somebody", 10**9, 10**9))
        agent.send(wire.Ack(producer, 10**15, 0))
        agent.send(wire.Nack(producer, 10**15, "expected"))
        agent.send(wire.Flush(producer, True))
        run.info("Goes on")
        agent.until(lambda: "Goes on" in agent.names)


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "ipc://", "tcp://no such host:1"])
def test_an_address_that_is_none_is_said_and_the_result_is_written(
    address: str, node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOGFERRY_AGENT", address)
    began = time.monotonic()
    with logferry.init("exp", run_id="r") as run:
        run.result({"loss": 1})
    assert time.monotonic() - began < 2.5
    found = results.read(home / "results" / "exp" / "r.json")
    assert (found["status"], found["metrics"]) == ("COMPLETED", {"loss": 1})
    said = capsys.readouterr().err
    assert said == "" or address in said


def test_without_a_thread_nothing_waits_and_everything_is_in_the_spool(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(runs, "_CLAIM_S", 60)
    monkeypatch.setattr(runs, "FINISH_S", 60)
    began = time.monotonic()
    with logferry.init("exp", run_id="r") as run:
        run.info("Tick")
        assert run.flush(timeout=60).emitted == 3
        run.result({"loss": 1})
    assert time.monotonic() - began < 20
    assert "no thread" in capsys.readouterr().err
    assert len(list((node_dir / "spool").iterdir())) == 1


def test_a_flush_that_waits_is_let_go_when_the_run_ends(node_dir: Path, home: Path) -> None:
    run = logferry.init("exp", run_id="r")
    waiting = threading.Thread(target=run.flush, kwargs={"timeout": 60})
    waiting.start()
    assert run._producer is not None
    shipper = run._producer.shipper
    wait_for("the flush is asked for", lambda: shipper._requests or shipper._flushes)
    run.finish()
    waiting.join(30)
    assert not waiting.is_alive()
    assert shipper.submit(lambda: None).wait(0)


@pytest.mark.parametrize("wrong", [{"timeout": "soon"}, {"timeout": None}, {"until": "now"}, {"until": []}])
def test_a_flush_that_is_asked_wrongly_never_raises(
    wrong: dict[str, Any], node_dir: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logferry.init("exp", run_id="r") as run:
        assert isinstance(run.flush(**wrong), logferry.Delivery)
    assert "flush(" in capsys.readouterr().err


def test_in_memory_an_end_without_an_agent_takes_no_longer_than_two_seconds(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runs.FINISH_S == 2
    monkeypatch.setattr(runs, "FINISH_S", 0.4)  # for a machine that has much else to do
    node_dir.write_text("a file in place of the directory")
    run = logferry.init("exp", run_id="r")
    assert run.flush(timeout=0).spooled == 0
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 1.6
    assert "kept in memory" in capsys.readouterr().err


def test_many_runs_one_after_the_other_leave_no_thread_and_no_descriptor(node_dir: Path, home: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    logferry.init("exp").finish()
    threads, files = threading.active_count(), open_files()
    for _ in range(5):
        with logferry.init("exp") as run:
            run.info("Tick")
    wait_for("all threads end", lambda: threading.active_count() <= threads)
    wait_for("all descriptors are closed", lambda: open_files() <= files)
