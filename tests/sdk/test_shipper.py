"""The shipper thread: at once after a pause, back to where the agent says, and never more than the window."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import logferry
from logferry import dealer, diagnostics, shipper, wire
from logferry.buffer import Buffer
from logferry.company import Company
from logferry.run import Run
from support.fakeagent import FakeAgent


@pytest.fixture
def agent(node_dir: Path) -> Iterator[FakeAgent]:
    node_dir.mkdir(mode=0o700)
    found = FakeAgent(node_dir / "agent.sock")
    yield found
    found.close()


@pytest.fixture
def run(agent: FakeAgent, home: Path) -> Iterator[Run]:
    with logferry.init("exp", run_id="r") as found:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        yield found


def test_a_run_says_hello_with_what_is_constant_for_it(run: Run, agent: FakeAgent) -> None:
    (hello, *_) = [frame for frame in agent.frames if isinstance(frame, wire.Hello)]
    assert (hello.about["experiment_id"], hello.about["run_id"], hello.acked_through) == ("exp", "r", 0)
    assert isinstance(agent.frames[0], wire.Hello)


def test_the_first_event_after_a_pause_ships_at_once(run: Run, agent: FakeAgent) -> None:
    agent.listen(0.1)
    waits = []
    for number in range(5):
        agent.listen(0.05)
        began = time.monotonic()
        run.info(f"Tick{number}")
        agent.until(lambda number=number: f"Tick{number}" in agent.names)
        waits.append(agent.times[-1] - began)
    assert min(waits) < 0.05


def test_a_small_spool_does_not_fill_while_acks_are_there(
    agent: FakeAgent, root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "_NEWS_S", 60.0)
    (root / "small.toml").write_text("spool_bytes = 262144\n")
    monkeypatch.setenv("LOGFERRY_CONFIG", str(root / "small.toml"))
    with logferry.init("exp", run_id="r") as run:
        for number in range(100):
            for _ in range(20):
                run.info("Tick", text="x" * 500)
            run.info(f"Turn{number}")
            agent.until(lambda number=number: f"Turn{number}" in agent.names)
        assert run.flush().shed == 0


def test_a_quiet_producer_sends_nothing(run: Run, agent: FakeAgent) -> None:
    agent.listen(0.3)
    before = len(agent.frames)
    agent.listen(1.5)
    assert len(agent.frames) == before


def test_it_goes_back_to_the_number_that_the_agent_expects(run: Run, agent: FakeAgent) -> None:
    for number in range(100):
        run.info(f"Tick{number}")
    agent.until(lambda: "Tick99" in agent.names)
    first = next(batch.first for batch in agent.batches if batch.first > 1)
    agent.acks = False
    run.info("Lost")
    agent.until(lambda: "Lost" in agent.names)
    agent.acks = True
    agent.send(wire.Nack(agent.batches[-1].producer, agent.durable + 1, "expected"))
    agent.until(lambda: agent.names.count("Lost") == 2)
    assert agent.batches[-1].first == agent.durable - agent.batches[-1].events + 1 > first


def test_without_an_ack_it_says_hello_again_and_sends_again(run: Run, agent: FakeAgent) -> None:
    agent.acks = False
    run.info("Tick")
    agent.until(lambda: "Tick" in agent.names)
    hellos = sum(isinstance(frame, wire.Hello) for frame in agent.frames)
    agent.until(lambda: sum(isinstance(frame, wire.Hello) for frame in agent.frames) > hellos)
    agent.until(lambda: agent.names.count("Tick") == 2)


def test_the_answer_to_an_earlier_greeting_has_nothing_sent_again(run: Run, agent: FakeAgent) -> None:
    producer = agent.batches[0].producer
    assert run._producer is not None
    run._producer.shipper._patience_s = 60.0  # it greets nobody by itself
    agent.acks, expected = False, agent.durable + 1
    run.info("Once")
    agent.until(lambda: "Once" in agent.names)
    agent.send(wire.Welcome(producer, expected, 40, wire.WINDOW_BYTES, 0))
    agent.until(lambda: run._hot.level == 40)
    run.error("Next")
    agent.until(lambda: "Next" in agent.names)
    assert agent.names.count("Once") == 1


def test_an_agent_that_is_only_busy_is_greeted_ever_more_rarely_until_it_acks_again(
    run: Run, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(shipper, "_LONGEST_PATIENCE_S", 0.4)
    ship = run._producer.shipper
    ship._patience_s = 0.05
    agent.acks = False
    run.info("Tick")
    before = len(agent.frames)
    agent.listen(1.6)
    hellos = sum(isinstance(frame, wire.Hello) for frame in agent.frames[before:])
    assert 4 <= hellos <= 7  # 32 of them if each took as long as the first
    agent.acks = True
    for number in range(200):
        run.info(f"Tock{number}")
        agent.until(lambda number=number: f"Tock{number}" in agent.names)
    agent.until(lambda: ship._patience_s == 0.05 or run.info("More"))


def test_who_are_you_is_answered_by_hello(run: Run, agent: FakeAgent) -> None:
    run._producer.shipper._patience_s = 600  # nothing else has it say hello
    hellos = sum(isinstance(frame, wire.Hello) for frame in agent.frames)
    agent.send(wire.Who(""))
    agent.until(lambda: sum(isinstance(frame, wire.Hello) for frame in agent.frames) > hellos)


def test_no_more_than_the_window_is_on_its_way(agent: FakeAgent, home: Path) -> None:
    agent.window = 4000
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        agent.listen(0.1)
        agent.acks = False
        before = len(agent.batches)
        for _ in range(200):
            run.info("Tick", ballast="x" * 100)
        agent.listen(0.5)
        sent = sum(len(batch.payload) for batch in agent.batches[before:])
        assert 0 < sent < 4000 + 200  # the last event that begins inside is whole
        agent.acks = True


def test_a_level_from_the_agent_is_in_force_at_once_and_nil_gives_the_runs_own_back(run: Run, agent: FakeAgent) -> None:
    producer = agent.batches[0].producer
    agent.send(wire.Level(producer, 40))
    agent.until(lambda: run._hot.level == 40)
    run.info("Not wanted")
    run.error("Wanted")
    agent.send(wire.Level(producer, None))
    agent.until(lambda: run._hot.level == 10)
    run.debug("Wanted again")
    agent.until(lambda: "Wanted again" in agent.names)
    assert "Not wanted" not in agent.names
    assert "Wanted" in agent.names


def test_what_is_acked_is_trimmed_from_the_disk(run: Run, agent: FakeAgent, node_dir: Path) -> None:
    for number in range(3000):
        run.info("Tick", number=number, ballast="x" * 100)
    run.info("Last")
    agent.until(lambda: "Last" in agent.names and agent.durable >= agent.batches[-1].first)
    (spool,) = (node_dir / "spool").iterdir()
    agent.until(lambda: "00000001.seg" not in {path.name for path in spool.iterdir()})


def test_an_agent_that_comes_back_elsewhere_gets_everything_it_lacks(
    node_dir: Path, home: Path, agent: FakeAgent
) -> None:
    with logferry.init("exp", run_id="r") as run:
        agent.until(lambda: "ExperimentStarted" in agent.names)
        durable = agent.durable
        agent.close()
        for number in range(50):
            run.info(f"Tick{number}")
        (node_dir / "agent.sock").unlink(missing_ok=True)
        agent.__init__(node_dir / "agent.sock")  # type: ignore[misc]
        agent.durable = durable
        agent.until(lambda: "Tick49" in agent.names)
    assert [name for name in agent.names if name.startswith("Tick")][:50] == [f"Tick{number}" for number in range(50)]


def test_without_an_agent_one_line_says_where_the_events_are(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipper, "_NO_AGENT_S", 0.05)
    monkeypatch.setattr(diagnostics, "_said", {})
    said = ""
    with logferry.init("exp") as run:
        deadline = time.monotonic() + 30
        while "no agent" not in said and time.monotonic() < deadline:
            run.info("Tick")
            time.sleep(0.01)
            said += capsys.readouterr().err
    said += capsys.readouterr().err
    (line,) = said.splitlines()
    assert str(node_dir / "spool") in line
    assert "logferry agent" in line


def test_an_agent_that_is_too_busy_to_answer_is_not_missed_until_a_minute_has_passed(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipper, "_NO_AGENT_S", 0.01)
    monkeypatch.setattr(shipper, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(diagnostics, "_said", {})
    node_dir.mkdir(mode=0o700)
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(node_dir / "agent.lock")]
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert busy.stdout is not None
        busy.stdout.readline()
        run = stack.enter_context(logferry.init("exp"))
        turns = threading.Semaphore(0)
        asked = shipper.has_agent
        monkeypatch.setattr(shipper, "has_agent", lambda node: (turns.release(), asked(node))[1])
        for _ in range(3):
            run.info("Tick")
            assert turns.acquire(timeout=30)
        assert "no agent" not in capsys.readouterr().err
        monkeypatch.setattr(shipper, "_SILENT_AGENT_S", 0.05)
        said = ""
        deadline = time.monotonic() + 30
        while "has not answered" not in said and time.monotonic() < deadline:
            run.info("Tick")
            time.sleep(0.01)
            said += capsys.readouterr().err
        busy.communicate(b"\n")
    assert str(node_dir / "spool") in said
    assert "start one" not in said


def test_between_the_frames_of_a_backlog_the_next_segment_is_prepared(
    run: Run, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame waits for the interpreter's lock while calls go on, and a window of them as long as a segment lasts."""
    send, prepare, seen = dealer.Dealer.send, Buffer.prepare, []

    def noted_send(one: dealer.Dealer, frame: wire.Frame) -> bool:
        seen.append("frame" if isinstance(frame, wire.Batch) else "")
        return send(one, frame)

    def noted_prepare(buffer: Buffer) -> None:
        seen.append("prepare")
        prepare(buffer)

    hold = threading.Event()
    run._producer.shipper.submit(hold.wait)
    for _ in range(60):
        run.info("Large", text="x" * 10_000)
    monkeypatch.setattr(dealer.Dealer, "send", noted_send)
    monkeypatch.setattr(Buffer, "prepare", noted_prepare)
    hold.set()
    agent.until(lambda: agent.names.count("Large") == 60)
    assert seen.count("frame") >= 4
    assert ("frame", "frame") not in set(itertools.pairwise(seen))


def test_a_task_runs_on_the_thread_and_one_that_fails_ends_nothing(run: Run, agent: FakeAgent) -> None:
    ship = run._producer.shipper
    assert ship.submit(lambda: 1 / 0).wait(30)
    done: list[str] = []
    assert ship.submit(lambda: done.append(threading.current_thread().name)).wait(30)
    assert done[0].startswith("logferry-")
    run.info("Still shipping")
    agent.until(lambda: "Still shipping" in agent.names)


@pytest.fixture
def in_company(run: Run, agent: FakeAgent, node_dir: Path) -> Run:
    for number in range(20):
        (node_dir / "spool" / f"neighbour{number}").mkdir()
    run._producer.shipper._company._look_at = 0.0  # with the next batch it looks around
    run.info("Seen")
    agent.until(lambda: "Seen" in agent.names)
    return run


def test_in_company_a_steady_producer_sends_few_batches(in_company: Run, agent: FakeAgent) -> None:
    before, ticks = len(agent.batches), 0
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        in_company.info("Tick")
        ticks += 1
        agent.listen(0.002)
    agent.until(lambda: sum(batch.events for batch in agent.batches[before:]) >= ticks)
    assert len(agent.batches) - before <= 8


def test_in_company_acks_that_nobody_waits_for_are_read_several_at_once(
    in_company: Run, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    received = dealer.Dealer.received

    def counted(self: dealer.Dealer) -> list[wire.Frame | wire.Bad]:
        found = list(received(self))
        read.append(len(found))
        return found

    monkeypatch.setattr(dealer.Dealer, "received", counted)
    monkeypatch.setattr(shipper, "_NEWS_S", 1.0)
    # Of so many batches some come within that, however slowly.
    monkeypatch.setattr(Company, "next_batch_at", lambda _, now: now + 0.02)

    def read_many() -> bool:
        in_company.info("Tick")
        return sum(read) >= 30

    agent.until(read_many, timeout_s=30)
    assert len(read) <= sum(read) * 2 / 3


def test_in_company_too_much_is_shipped_at_once_and_whoever_waits_is_served(
    in_company: Run, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Company, "next_batch_at", lambda _, now: now + 60.0)
    in_company.info("Begins a batch")
    agent.until(lambda: "Begins a batch" in agent.names)
    for number in range(2000):
        in_company.info("Tick", number=number, ballast="x" * 100)
    agent.until(lambda: "Tick" in agent.names)
    waiting = threading.Thread(target=in_company.flush, kwargs={"timeout": 5})
    waiting.start()
    agent.until(lambda: not waiting.is_alive())


@pytest.mark.parametrize("until", ["durable", "written"])
def test_the_agent_is_told_that_somebody_waits_and_for_what(run: Run, agent: FakeAgent, until: str) -> None:
    run.info("Last")
    waiting = threading.Thread(target=run.flush, args=(until, 0.5))
    waiting.start()
    said = agent.until(lambda: [frame for frame in agent.frames if isinstance(frame, wire.Flush)])
    assert said == [wire.Flush(agent.batches[0].producer, until == "written")]
    assert agent.names[-1] == "Last"  # before that
    agent.until(lambda: not waiting.is_alive())


def test_the_agent_is_told_again_once_what_it_refused_was_shipped_again(run: Run, agent: FakeAgent) -> None:
    def told() -> int:
        return sum(isinstance(frame, wire.Flush) for frame in agent.frames)

    agent.until(lambda: "ExperimentStarted" in agent.names)
    agent.acks = False
    run.info("Last")
    waiting = threading.Thread(target=run.flush, kwargs={"timeout": 10})
    waiting.start()
    agent.until(told)
    agent.send(wire.Nack(agent.batches[-1].producer, agent.batches[-1].first, "full"))
    agent.acks = True
    agent.until(lambda: told() == 2)
    agent.until(lambda: not waiting.is_alive())
