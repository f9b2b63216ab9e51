"""While all who were there live, and nobody comes, a look at the spools costs next to nothing and misses nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logferry.events import END
from logferry_agent import adoption as looking
from logferry_agent.adoption import Adoption
from logferry_agent.producers import Refused
from logferry_agent.spools import Seen, look, stamp
from support.adopting import numbers, play, seals
from support.deadproducer import producer
from support.intake import Intake, until
from support.journals import spool_records

A, B = "aaaaaaaa", "bbbbbbbb"


@pytest.fixture
def spools(root: Path) -> Path:
    (root / "node" / "spool").mkdir(parents=True)
    return root / "node" / "spool"


@pytest.fixture
def living(spools: Path) -> Iterator[subprocess.Popen[str]]:
    process = producer(spools, A, wait=True, pid=0)
    yield process
    process.kill()
    process.wait(20)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return a list that grows with each listing of the directory: whose locks are not tried."""
    found: list[set[str]] = []

    def listed(root: Path, busy: set[str], known: set[str]) -> Seen:
        found.append(set(busy))
        return look(root, busy, known)

    monkeypatch.setattr(looking, "look", listed)
    return found


async def quiet(adoption: Adoption, tried: list[set[str]]) -> None:
    """Look until a look finds that there is nothing to do."""
    while True:
        before = len(tried)
        await adoption.look()
        if len(tried) == before:
            return
        await asyncio.sleep(0.02)


async def noticed_s(adoption: Adoption, built: Intake, what: Any) -> float:
    """Return how long the looks, as they are made in a running agent, take to see what happens now: by their number."""
    task = asyncio.create_task(adoption.run())
    what()
    before = adoption._looks
    await until(lambda: adoption.under_way or seals(built) or built.producers.get(B))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return (adoption._looks - before) * looking.SCAN_S


def test_quiet_looks_list_nothing_until_it_is_time_to_try_all_locks(
    root: Path, living: subprocess.Popen[str], tried: list[set[str]]
) -> None:
    async def scene(_: Intake, adoption: Adoption) -> None:
        await quiet(adoption, tried)
        before = len(tried)
        for _look in range(40):
            await adoption.look()
        assert 3 <= len(tried) - before <= 8
        assert set() in tried[before:]  # a living process may have let go of its spool

    play(root, scene)


def test_of_many_who_live_a_share_of_the_locks_is_tried_at_a_time_and_each_in_its_turn() -> None:
    names = {f"producer{number}" for number in range(1000)}
    tried = [looking._in_turn(names, trial) for trial in range(6)]
    assert max(map(len, tried)) < 400
    assert sorted(name for share in tried for name in share) == sorted(names)


def test_a_death_after_a_quiet_time_is_noticed_within_a_second(
    root: Path, living: subprocess.Popen[str], tried: list[set[str]]
) -> None:
    async def scene(built: Intake, adoption: Adoption) -> None:
        def die() -> None:
            living.kill()
            living.wait(20)

        await quiet(adoption, tried)
        assert await noticed_s(adoption, built, die) < 1

    play(root, scene)


def test_a_newcomer_after_a_quiet_time_is_noticed_within_a_second_of_its_start(
    root: Path, spools: Path, living: subprocess.Popen[str], tried: list[set[str]]
) -> None:
    processes = []

    async def scene(built: Intake, adoption: Adoption) -> None:
        await quiet(adoption, tried)
        assert await noticed_s(adoption, built, lambda: processes.append(producer(spools, B, wait=True, pid=0))) < 1
        assert built.producers.alive("exp", "run")

    try:
        play(root, scene)
    finally:
        for process in processes:
            process.kill()
            process.wait(20)


def test_one_that_came_without_a_spool_ends_the_quiet(
    root: Path, living: subprocess.Popen[str], tried: list[set[str]]
) -> None:
    async def scene(built: Intake, adoption: Adoption) -> None:
        await quiet(adoption, tried)
        (one,) = built.producers
        assert not isinstance(built.producers.introduce(B, {**one.about, "pid": 2**22 + 1, "spool": "memory"}), Refused)
        before = len(tried)
        for _look in range(3):
            await adoption.look()
        assert len(tried) > before

    play(root, scene)


def test_one_that_came_and_died_in_a_quiet_time_is_adopted_with_the_next_look(
    root: Path, spools: Path, living: subprocess.Popen[str], tried: list[set[str]]
) -> None:
    async def scene(built: Intake, adoption: Adoption) -> None:
        await quiet(adoption, tried)
        await asyncio.to_thread(producer, spools, B, 5)
        await adoption.look()
        await until(lambda: seals(built))
        assert numbers(built, B) == [1, 2, 3, 4, 5]

    play(root, scene)


def test_one_that_says_its_end_and_lives_on_is_adopted_with_the_next_look(
    root: Path, spools: Path, living: subprocess.Popen[str], tried: list[set[str]]
) -> None:
    async def scene(built: Intake, adoption: Adoption) -> None:
        await quiet(adoption, tried)
        one = built.producers.get(A)
        assert one is not None
        built.producers.take(one, 1, 1, spool_records([7, 0, END, None, {"status": "COMPLETED"}]))
        before = len(tried)
        await adoption.look()
        assert tried[before:] == [set()]

    play(root, scene)


def test_a_change_within_the_tick_of_the_last_one_cannot_hide(spools: Path) -> None:
    os.utime(spools, ns=(0, 5_000_000_000))
    assert stamp(spools) == 5_000_000_000
    (spools / "new").mkdir()
    assert stamp(spools) is None
