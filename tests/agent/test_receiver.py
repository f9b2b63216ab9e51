"""The socket of the agent, spoken to by real DEALER sockets."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgpack
import pytest

from logferry import wire
from logferry_agent import producers, receiver
from support.fakefs import FakeFileSystem
from support.intake import Client, Intake, batch, client, intake, until
from support.journals import ABOUT, entries

A, B = "aaaaaaaa", "bbbbbbbb"
Scene = Callable[[Intake, Client], Awaitable[None]]


def play(root: Path, scene: Scene, fs: FakeFileSystem | None = None) -> None:
    async def run() -> None:
        async with intake(root, fs) as built, client(built.address) as one:
            await asyncio.wait_for(scene(built, one), 30)

    asyncio.run(run())


def test_a_batch_is_acked_and_is_then_in_the_journal_as_it_came(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        assert await one.greet(A) == wire.Welcome(A, 1, None, wire.WINDOW_BYTES, 0)
        sent = batch(A, 1, 3)
        await one.say(sent)
        assert await one.acked(A, 3) == wire.Ack(A, 3, 0)
        assert entries(built.journal)[1][:5] == (2, A, 1, 3, sent.payload)

    play(root, scene)


def test_no_ack_comes_before_the_sync(root: Path) -> None:
    fs = FakeFileSystem()

    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        fs.fail("fdatasync", errno.EIO, times=10**9)
        await one.say(batch(A, 1))
        await until(lambda: built.journal.held)
        assert not await one.socket.poll(100)
        fs.heal()
        await one.acked(A, 1)

    play(root, scene, fs)


def test_a_batch_from_nobody_is_asked_who_it_is(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.say(batch(A, 1))
        assert await one.hear() == wire.Who(A)
        assert built.receiver.refused == {}

    play(root, scene)


@pytest.fixture
def _in_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a rest of reading last until `_rest_is_over`."""
    monkeypatch.setattr(producers, "_CROWD", 1)
    monkeypatch.setattr(receiver, "_GATHER_S", 10**6)


async def _rest(built: Intake) -> None:
    await until(lambda: isinstance(built.receiver._turn, asyncio.TimerHandle))


def _rest_is_over(built: Intake) -> None:
    assert built.receiver._turn
    built.receiver._turn.cancel()
    built.receiver._rested()


@pytest.mark.usefixtures("_in_a_crowd")
@pytest.mark.parametrize("was_cut_off", [False, True])
def test_in_a_crowd_reading_rests_once_it_has_taken_what_there_was(root: Path, *, was_cut_off: bool) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        await _rest(built)
        _rest_is_over(built)
        offer = built.producers.offer
        # The turn's time is up when it has taken this.
        built.producers.offer = lambda *some: (time.sleep(0.03 * was_cut_off), offer(*some))[1]  # type: ignore[method-assign]
        await one.say(batch(A, 1))
        await one.acked(A, 1)
        await _rest(built)
        await one.say(batch(A, 2))
        await until(lambda: built.receiver._socket.poll(0))
        assert not asyncio.get_running_loop().remove_reader(built.receiver._fd)  # which would be called all the time
        built.receiver._again()
        assert built.receiver._socket.poll(0)
        _rest_is_over(built)
        await one.acked(A, 2)

    play(root, scene)


@pytest.mark.usefixtures("_in_a_crowd")
def test_after_an_agent_has_read_for_the_last_time_no_rest_ends_in_reading(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        await _rest(built)
        built.receiver.take_no_more()
        _rest_is_over(built)
        # A reader that takes nothing would be called all the time, as long as what came lies there.
        assert not asyncio.get_running_loop().remove_reader(built.receiver._fd)

    play(root, scene)


def test_what_is_sent_twice_is_acked_twice_and_kept_once(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        for _ in range(2):
            await one.say(batch(A, 1, 2))
            await one.acked(A, 2)
        assert [entry.first for entry in entries(built.journal)] == [0, 1]

    play(root, scene)


def test_a_gap_is_sent_back_to_the_expected_number(root: Path) -> None:
    async def scene(_: Intake, one: Client) -> None:
        await one.greet(A)
        await one.say(batch(A, 5))
        assert await one.hear() == wire.Nack(A, 1, "expected")

    play(root, scene)


def test_a_new_agent_expects_what_the_old_one_did_not_make_durable(root: Path) -> None:
    async def first(_: Intake, one: Client) -> None:
        await one.greet(A)
        await one.say(batch(A, 1, 7))
        await one.acked(A, 7)

    async def second(_: Intake, one: Client) -> None:
        assert (await one.greet(A, acked=3)).expected == 8

    play(root, first)
    play(root, second)


def test_the_newest_connection_wins_and_the_old_one_is_asked_who_it_is(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        async with client(built.address) as other:
            await other.greet(A)
            await one.say(batch(A, 1))
            assert await one.hear() == wire.Who(A)
            await other.say(batch(A, 1))
            await other.acked(A, 1)

    play(root, scene)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"hello"], "parts"),
        ([b"x"] * 40, "parts"),
        ([b"nonsense", b"", b""], "kind"),
        ([b"batch", b"\xff\xff", b""], "header"),
        ([b"hello", msgpack.packb([2, A, 0, {}]), b""], "version"),
        ([b"batch", msgpack.packb([1, A, 1, 60_000, 0]), b"x" * 40], "count"),
        ([b"batch", msgpack.packb([1, A, 1, 1, 7]), b"x" * 40], "checksum"),
        ([b"batch", msgpack.packb([1, A, 1, 1, 7]), bytes(wire.MAX_FRAME_BYTES + 1)], "size"),
        (wire.encode(wire.Hello(A, 0, ABOUT | {"run_id": "../etc"})), "hello"),
        (wire.encode(wire.Hello(A, 0, {})), "hello"),
        (wire.encode(wire.Hello("../../etc", 0, ABOUT)), "hello"),
        (wire.encode(wire.Ack(A, 1, 1)), "kind"),
    ],
)
def test_a_bad_frame_is_counted_by_reason_and_harms_no_other_producer(
    root: Path, parts: list[bytes], reason: str
) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(B)
        await one.socket.send_multipart(parts)
        await one.say(batch(B, 1))
        await one.acked(B, 1)
        assert built.receiver.refused == {reason: 1}

    play(root, scene)


def test_a_probe_is_asked_who_it_is(root: Path) -> None:
    async def scene(_: Intake, one: Client) -> None:
        await one.socket.send(b"")
        assert await one.hear() == wire.Who("")

    play(root, scene)


def test_levels_come_with_the_welcome_and_when_they_change(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        built.level = 30
        assert (await one.greet(A)).level == 30
        built.level = 10
        built.receiver.push_levels()
        assert await one.hear() == wire.Level(A, 10)

    play(root, scene)


def test_a_run_whose_output_is_held_is_refused_and_others_are_taken(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        built.full_runs.add(("exp", "held"))
        await one.greet(A, run_id="held")
        await one.greet(B)
        await one.say(batch(A, 1))
        assert await one.hear() == wire.Nack(A, 1, "full")
        await one.say(batch(B, 1))
        await one.acked(B, 1)
        built.full_runs.clear()
        await one.say(batch(A, 1))
        await one.acked(A, 1)

    play(root, scene)


def test_written_is_told_with_the_acks_and_a_flush_asks_for_a_checkpoint(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        await one.say(batch(A, 1, 4))
        await one.acked(A, 4)
        await one.say(wire.Flush(A, True))
        await until(lambda: built.checkpoints)
        assert built.checkpoints == [("exp", "run")]
        built.receiver.take_written({A: 4})
        assert await one.hear() == wire.Ack(A, 4, 4)

    play(root, scene)


@pytest.fixture
def _acks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "_CROWD", 1)
    monkeypatch.setattr(receiver, "_OLD_S", 60.0)


@pytest.mark.usefixtures("_acks_wait")
def test_in_a_crowd_one_ack_says_that_events_are_durable_and_written(root: Path) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        await one.say(batch(A, 1, 4))
        await until(lambda: len(entries(built.journal)) == 2)
        assert not await one.socket.poll(100)
        built.receiver.take_written({A: 4})
        assert await one.hear() == wire.Ack(A, 4, 4)

    play(root, scene)


@pytest.mark.usefixtures("_acks_wait")
@pytest.mark.parametrize("durable_before", [False, True])
def test_in_a_crowd_whoever_waits_for_durable_is_told_at_once(root: Path, *, durable_before: bool) -> None:
    async def scene(built: Intake, one: Client) -> None:
        await one.greet(A)
        for number in (1, 2):  # for the second time as for the first
            await one.say(batch(A, number))
            if durable_before:
                await until(lambda: len(entries(built.journal)) == number + 1)  # noqa: B023
            await one.say(wire.Flush(A, False))
            assert await one.hear() == wire.Ack(A, number, 0)
        assert built.checkpoints == []

    play(root, scene)


def test_in_a_crowd_what_is_not_written_for_long_is_acked_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "_CROWD", 1)
    monkeypatch.setattr(receiver, "_OLD_S", 0.02)

    async def scene(_: Intake, one: Client) -> None:
        await one.greet(A)
        for number in (1, 2):
            await one.say(batch(A, number))
            assert await one.hear() == wire.Ack(A, number, 0)

    play(root, scene)


def test_a_question_is_answered(root: Path) -> None:
    async def scene(_: Intake, one: Client) -> None:
        await one.say(wire.Ask("status", {"x": 1}))
        assert await one.hear() == wire.Answer({"verb": "status", "x": 1})

    play(root, scene)


def test_a_thousand_batches_of_many_producers_are_all_acked(root: Path) -> None:
    names = [f"producer{number:02}" for number in range(50)]

    async def speak(address: str, name: str) -> None:
        async with client(address) as one:
            await one.greet(name)
            for number in range(1, 21):
                await one.say(batch(name, number))
            await one.acked(name, 20)

    async def scene(built: Intake, _: Client) -> None:
        await asyncio.gather(*(speak(built.address, name) for name in names))
        assert len(entries(built.journal)) == 50 * 21

    play(root, scene)
