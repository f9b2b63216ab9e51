"""Clocks that step: no mass deletion, no storm of rotations, nothing that waits for hours."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from logferry_agent.fs import FileSystem
from logferry_agent.heartbeat import Heartbeat
from logferry_agent.lines import time_text
from logferry_agent.rotation import in_order, rotated_name
from logferry_agent.steadiness import Steadiness
from support.writerrig import Rig, rig

HOUR_S, YEAR_S = 3600, 365 * 86_400
_SECOND = 1_000_000_000


class Times:
    """A wall clock and the time that passes, apart."""

    def __init__(self) -> None:
        self.wall_s, self.passed_s = 1_700_000_000.0, 50.0

    def steadiness(self) -> Steadiness:
        return Steadiness(lambda: int(self.wall_s * _SECOND), lambda: self.passed_s)

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.passed_s += seconds


def test_ages_are_believed_after_an_hour_and_by_who_asks_at_once() -> None:
    times = Times()
    steadiness = times.steadiness()
    assert not steadiness.trusts_ages(asked=False)
    assert steadiness.trusts_ages(asked=True)
    times.pass_(HOUR_S + 1)
    assert steadiness.trusts_ages(asked=False)


@pytest.mark.parametrize("step_s", [YEAR_S, -YEAR_S, 61])
def test_after_a_step_of_the_clock_ages_are_believed_by_nobody_for_an_hour(step_s: float) -> None:
    times = Times()
    steadiness = times.steadiness()
    times.pass_(2 * HOUR_S)
    times.wall_s += step_s
    for _ in range(3):
        assert not steadiness.trusts_ages(asked=False)
        assert not steadiness.trusts_ages(asked=True)
        times.pass_(HOUR_S / 4)
    assert round(steadiness.stepped_by_s) == step_s
    times.pass_(HOUR_S)
    assert steadiness.trusts_ages(asked=False)


def test_a_clock_that_is_slewed_is_no_clock_that_steps() -> None:
    times = Times()
    steadiness = times.steadiness()
    for _ in range(100):
        times.pass_(300)
        times.wall_s += 0.15  # as fast as the kernel does it
        steadiness.trusts_ages(asked=False)
    assert not steadiness.stepped_by_s


def step(one: Rig, seconds: float) -> None:
    one.now += int(seconds * _SECOND)
    one.stepped_s += seconds


def test_a_clock_that_jumps_a_year_ahead_and_back_removes_no_file(root: Path) -> None:
    async def main() -> None:
        async with rig(root, final_after_s=0, keep_age_s=30 * 86_400) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            one.seal("aaaaaaaa", 10)
            await one.quiet()
            (path,) = one.run_logs().path.iterdir()
            os.utime(path, ns=(one.now, one.now))
            await one.writer._upkeep._finalise()
            step(one, YEAR_S)
            assert await one.writer.prune() == []
            await one.writer._upkeep._scan()
            (problem,) = one.writer.held()
            assert (problem.what, f"stepped by +{YEAR_S} s" in problem.error) == ("retention", True)
            step(one, -YEAR_S)
            one.now += 2 * HOUR_S * _SECOND
            await one.writer._upkeep._scan()
            assert path.exists()
            one.now += 31 * 86_400 * _SECOND  # that much time has passed
            await one.writer._upkeep._scan()
            assert not path.exists()
            assert one.writer.held() == []

    asyncio.run(main())


def test_a_clock_that_goes_to_and_fro_rotates_once_for_each_time(root: Path) -> None:
    async def main() -> None:
        async with rig(root, rotate_age_s=60, compress="none") as one:
            one.hello("aaaaaaaa")
            for turn in range(10):
                step(one, 86_400 if turn % 2 else -86_400)
                for first in range(turn * 50 + 1, turn * 50 + 51, 10):
                    one.steps("aaaaaaaa", first, first + 9)
                    await one.quiet()
            assert one.seqs() == [f"aaaaaaaa-{number}" for number in range(1, 501)]
            assert len(list(one.run_logs().path.iterdir())) <= 1 + 5

    asyncio.run(main())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2**31, "2038-01-19T03:14:08"), (2**32, "2106-02-07T06:28:16"), (-1, "1969-12-31T23:59:59")],
)
def test_times_beyond_32_bits_and_before_1970_are_written_as_they_are(seconds: int, text: str) -> None:
    assert time_text(seconds * _SECOND) == f"{text}.000000Z"


def test_files_rotated_while_the_clock_went_back_stay_in_the_order_of_their_lines() -> None:
    names = [rotated_name("n.jsonl", moment * _SECOND, count) for count, moment in enumerate([2**31, 5, -5, 2**32], 1)]
    assert [log.name for log in in_order(sorted(names))] == names


def test_a_clock_that_stepped_is_in_the_heartbeat_by_the_next_look(root: Path) -> None:
    async def main() -> list[int]:
        now_ns, touched = 10 * HOUR_S * _SECOND, []

        class Counting(FileSystem):
            def utime(self, path: Path, times_ns: tuple[int, int] | None) -> None:
                assert times_ns is None, "by the file system's own clock"
                touched.append(now_ns // _SECOND)

        with ThreadPoolExecutor(1) as executor:
            beat = Heartbeat(Counting(), root, root / "agents" / "h", lambda: now_ns, executor)
            for step_s in (0, 2, 57, 2, HOUR_S, 2, -2 * HOUR_S, 2):
                now_ns += step_s * _SECOND
                await beat.look()
        return [at_s - 10 * HOUR_S for at_s in touched]

    assert asyncio.run(main()) == [0, 61, 61 + HOUR_S, 63 - HOUR_S]
