"""Spools of real processes that died, and what the agent makes of them."""

from __future__ import annotations

import asyncio
import struct
import zlib
from pathlib import Path

import pytest

from logferry_agent.adoption import SCAN_S, Adoption
from support.adopting import numbers, play, seals
from support.deadproducer import producer
from support.intake import Intake, batch, client, until

A, B = "aaaaaaaa", "bbbbbbbb"


@pytest.fixture
def spools(root: Path) -> Path:
    (root / "node" / "spool").mkdir(parents=True)
    return root / "node" / "spool"


def test_a_producer_that_died_before_the_agent_started_is_adopted_and_sealed(root: Path, spools: Path) -> None:
    producer(spools, A, 5)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))
        assert numbers(built, A) == [1, 2, 3, 4, 5]
        expected = {
            "producer": A,
            "emitted": 5,
            "shed": {"DEBUG": 1},
            "end": "vanished",
            "spool": "file",
            "pid": 1,
            "owner": True,
        }
        assert seals(built) == [expected | {"status": "KILLED", "exit": {"reason": "vanished"}}]

    play(root, scene)


def test_looks_at_the_same_time_adopt_a_spool_once(root: Path, spools: Path) -> None:
    producer(spools, A, 5)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await asyncio.gather(*(adoption.finish() for _ in range(4)))
        await until(lambda: seals(built))
        assert numbers(built, A) == [1, 2, 3, 4, 5]
        assert len(seals(built)) == 1

    play(root, scene)


def test_the_seal_of_one_that_finished_says_so_and_how(root: Path, spools: Path) -> None:
    producer(spools, A, 2, end=True)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))
        (seal,) = seals(built)
        assert (seal["end"], seal["status"], seal["exit"], seal["emitted"]) == ("finished", "COMPLETED", {"code": 0}, 3)

    play(root, scene)


def test_a_living_producer_is_left_alone_and_known_as_alive(root: Path, spools: Path) -> None:
    process = producer(spools, A, wait=True)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        assert numbers(built, A) == []
        assert built.producers.alive("exp", "run")
        process.kill()
        process.wait(20)
        await adoption.finish()
        await until(lambda: seals(built))
        assert numbers(built, A) == [1, 2, 3]
        assert not built.producers.alive("exp", "run")

    play(root, scene)


def test_a_death_is_noticed_within_a_second(root: Path, spools: Path) -> None:
    process = producer(spools, A, wait=True)

    async def scene(built: Intake, adoption: Adoption) -> None:
        task = asyncio.create_task(adoption.run())
        await until(lambda: built.producers.get(A))
        process.kill()
        process.wait(20)
        before = adoption._looks
        await until(lambda: adoption.under_way or seals(built))
        # One may have been under way when it died.
        assert (adoption._looks - before) * SCAN_S < 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(root, scene)


def test_what_was_shipped_before_the_death_is_not_taken_again(root: Path, spools: Path) -> None:
    process = producer(spools, A, 5, wait=True)

    async def scene(built: Intake, adoption: Adoption) -> None:
        async with client(built.address) as one:
            await one.greet(A)
            await one.say(batch(A, 1, 2))
            await one.acked(A, 2)
            process.kill()
            process.wait(20)
            await adoption.finish()
            await one.say(batch(A, 3, 2))  # late, on a connection that is still there
            await until(lambda: seals(built))
            assert numbers(built, A) == [1, 2, 3, 4, 5]

    play(root, scene)


def test_the_spool_goes_when_its_seal_is_checkpointed_and_not_before(root: Path, spools: Path) -> None:
    producer(spools, A)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))
        await adoption.look()
        assert (spools / A).exists()
        built.producers.take_settled([A])
        # A look and a drain come to it at the same time.
        await asyncio.gather(adoption.remove_sealed(), adoption.remove_sealed())
        assert not (spools / A).exists()
        assert built.producers.get(A) is not None

    play(root, scene)


def test_after_a_restart_a_sealed_spool_is_removed_and_not_shipped_again(root: Path, spools: Path) -> None:
    producer(spools, A)

    async def first(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))

    async def second(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await adoption.look()
        assert not (spools / A).exists()
        assert (numbers(built, A), len(seals(built))) == ([1, 2, 3], 1)

    play(root, first)
    play(root, second, settled=lambda: 1 << 62)


def test_a_restart_between_shipping_and_seal_takes_up_where_the_journal_ends(root: Path, spools: Path) -> None:
    producer(spools, A, 4)

    async def first(built: Intake, _: Adoption) -> None:
        async with client(built.address) as one:
            await one.greet(A)
            await one.say(batch(A, 1, 3))
            await one.acked(A, 3)

    async def second(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))
        assert numbers(built, A) == [1, 2, 3, 4]

    play(root, first)
    play(root, second)


@pytest.mark.parametrize("hello", [b"rubbish", b"LFHL" + struct.pack(">II", 1, zlib.crc32(b"\xc1")) + b"\xc1"])
def test_a_spool_with_an_unreadable_hello_is_kept_aside_and_others_go_on(
    root: Path, spools: Path, hello: bytes
) -> None:
    producer(spools, A)
    producer(spools, B)
    (spools / A / "hello").write_bytes(hello)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))
        assert [seal["producer"] for seal in seals(built)] == [B]
        assert (spools / f".bad-{A}" / "00000001.seg").exists()

    play(root, scene)


def test_a_flipped_byte_is_a_gap_its_bytes_are_kept_and_the_rest_arrives(root: Path, spools: Path) -> None:
    producer(spools, A, 4)
    path = spools / A / "00000001.seg"
    data = bytearray(path.read_bytes())
    data[32 + 10 + 4] ^= 1
    path.write_bytes(data)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))
        assert numbers(built, A) == [2, 3, 4]
        assert seals(built)[0]["emitted"] == 4
        assert len(list((root / "node" / "journal" / "bad").iterdir())) == 1

    play(root, scene)


def test_events_in_memory_are_sealed_when_their_process_is_gone(root: Path, spools: Path) -> None:
    async def scene(built: Intake, adoption: Adoption) -> None:
        async with client(built.address) as one:
            await one.greet(A, spool="memory", pid=1 << 30)
            await one.say(batch(A, 1, 2))
            await one.acked(A, 2)
            await adoption.look()
            await adoption.look()
            assert seals(built) == []
        while not seals(built):
            await adoption.look()
        assert (seals(built)[0]["end"], seals(built)[0]["spool"]) == ("lost", "memory")

    play(root, scene)


def test_a_run_that_is_refused_for_now_waits_and_is_adopted_later(root: Path, spools: Path) -> None:
    producer(spools, A)

    async def scene(built: Intake, adoption: Adoption) -> None:
        built.full_runs.add(("exp", "run"))
        await adoption.look()
        await asyncio.sleep(0.05)
        assert numbers(built, A) == []
        built.full_runs.clear()
        await adoption.finish()
        assert numbers(built, A) == [1, 2, 3]

    play(root, scene)


def test_a_row_retires_when_its_last_record_has_left_the_journal(root: Path, spools: Path) -> None:
    producer(spools, A)

    async def first(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: seals(built))

    async def second(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        async with client(built.address) as one:
            await one.greet(B)  # something new begins a new segment
            await until(lambda: B in built.journal.ledger.rows)
        built.journal.trim(built.journal.durable)
        await adoption.look()
        assert built.producers.get(A) is None

    play(root, first)
    play(root, second, settled=lambda: 1 << 62)
