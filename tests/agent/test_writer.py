"""From journal records to running logs: order, exactly once, checkpoints, replay."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from logferry_agent.segment import Record
from support.writerrig import event, rig


def seqs(producer: str, last: int, first: int = 1) -> list[str]:
    return [f"{producer}-{number}" for number in range(first, last + 1)]


def test_durable_events_are_lines_in_their_order(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 95)
            await one.quiet()
            assert one.seqs() == seqs("aaaaaaaa", 95)
            assert one.written == {"aaaaaaaa": 95}

    asyncio.run(main())


def test_every_run_has_its_own_file_and_producers_of_one_run_share_it(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.hello("bbbbbbbb")
            one.hello("cccccccc", run="run2")
            for producer in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
                one.steps(producer, 1, 20)
            await one.quiet()
            assert sorted(one.seqs()) == sorted(seqs("aaaaaaaa", 20) + seqs("bbbbbbbb", 20))
            assert one.seqs("run2") == seqs("cccccccc", 20)

    asyncio.run(main())


def test_a_restart_writes_every_line_once(root: Path) -> None:
    async def main() -> None:
        for life in range(3):
            async with rig(root, checkpoint_s=0.05 if life else 60) as one:
                if not life:
                    one.hello("aaaaaaaa")
                one.steps("aaaaaaaa", life * 50 + 1, life * 50 + 50)
                await one.until(lambda: one.run_logs().path.exists() and len(one.seqs()) >= (life + 1) * 50)  # noqa: B023
        async with rig(root) as one:
            await one.quiet()
            assert one.seqs() == seqs("aaaaaaaa", 150)

    asyncio.run(main())


def test_a_jump_of_the_numbers_is_marked_exactly_there(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 3)
            one.steps("aaaaaaaa", 7, 9)
            await one.quiet()
            marker = one.lines()[3]
            assert (marker["event"], marker["first"], marker["lost"], marker["seq"]) == (
                "logferry.gap",
                4,
                3,
                "aaaaaaaa-6",
            )
            assert one.seqs()[4:] == seqs("aaaaaaaa", 9, 7)

    asyncio.run(main())


def test_an_event_that_cannot_be_decoded_is_marked_and_kept_and_others_go_on(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.events("aaaaaaaa", 1, event(i=1), b"\xc1\xc1\xc1\xc1\xc1\xc1", event(i=3))
            await one.quiet()
            assert [line.get("cause") for line in one.lines()] == [None, "malformed", None]
            assert one.seqs() == seqs("aaaaaaaa", 3)
            assert list(one.bad.values()) == [b"\xc1\xc1\xc1\xc1\xc1\xc1"]

    asyncio.run(main())


def test_a_seal_says_how_many_lines_were_written(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 12)
            one.seal("aaaaaaaa", 12)
            await one.quiet()
            last = one.lines()[-1]
            assert (last["event"], last["written"], last["seq"]) == ("logferry.seal", 12, "agent-1")
            assert one.sealed == ["aaaaaaaa"]

    asyncio.run(main())


def test_the_journal_is_trimmed_to_what_is_checkpointed(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 30)
            await one.quiet()
            assert one.writer.least_position() == one.journal.durable

    asyncio.run(main())


def test_what_a_restart_reads_from_never_goes_back(root: Path) -> None:
    """Else it gives out again what was said of runs whose checkpoints are forgotten with their files."""

    async def live(first: int) -> list[int]:
        async with rig(root, checkpoint_s=0.05) as one:
            found = [one.state.dispatched()]
            one.hello("aaaaaaaa")
            for number in (first, first + 1):
                one.steps("aaaaaaaa", number, number)
                one.writer.checkpoint("exp", "run1")
                await one.until(lambda: one.written.get("aaaaaaaa") == number)  # noqa: B023
                found.append(one.state.dispatched())
                await one.until(lambda: one.writer._least == one.journal.durable)
        return found

    found = asyncio.run(live(1)) + asyncio.run(live(3)) + asyncio.run(live(5))
    assert found == sorted(found)
    assert found[-1] > found[2] > found[0]


def test_a_backlog_larger_than_memory_arrives_whole(root: Path, monkeypatch) -> None:
    monkeypatch.setattr("logferry_agent.dispatch._OUTPUT_BYTES", 2000)
    monkeypatch.setattr("logferry_agent.dispatch._PATIENCE_S", 0.0)

    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 3000)
            await one.quiet()
            assert one.seqs() == seqs("aaaaaaaa", 3000)
            assert one.writer.memory.used == 0

    asyncio.run(main())


def _kept_records() -> int:
    return sum(isinstance(found, Record) for found in gc.get_objects())


def test_what_was_written_and_checkpointed_is_kept_by_nobody(root: Path) -> None:
    before = _kept_records()

    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 95)
            await one.quiet()
            await one.until(lambda: _kept_records() <= before, 10)

    asyncio.run(main())
