"""Turns of outputs: alone each writes at once and syncs once in a while; in company a turn does both, and is rarer."""

from __future__ import annotations

import asyncio
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from logferry_agent import turns
from logferry_agent.current_file import CurrentFile
from logferry_agent.fs import FileSystem
from logferry_agent.output import Output
from logferry_agent.state import Checkpoint
from support.fakefs import FakeFileSystem
from support.writerrig import Rig, event, rig

LONG_S = 60.0


class Noting(FileSystem):
    """Notes in order what happens to the current file."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pwritev(self, fd: int, buffers: Any, offset: int) -> int:
        self.calls.append("write")
        return super().pwritev(fd, buffers, offset)

    def begin_sync(self, fd: int, offset: int, size: int) -> None:
        self.calls.append("begin of the sync")
        super().begin_sync(fd, offset, size)

    def fsync(self, fd: int) -> None:
        self.calls.append("sync")
        super().fsync(fd)

    def lstat(self, path: Path) -> Any:
        self.calls.append("check")
        return super().lstat(path)


@pytest.fixture
def _in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a pause between two turns last until `_pause_is_over`."""
    monkeypatch.setattr(turns.Turns, "_pause_s", lambda self: self._checkpoint_s() / 2)


def _pause_is_over(one: Rig) -> None:
    (output,) = one.writer._outputs.values()
    assert output.next_turn
    one.writer._turns._begin(output)


async def _begun(one: Rig) -> None:
    """Have the file be there, with a line in it that is safe."""
    one.hello("aaaaaaaa")
    one.steps("aaaaaaaa", 1, 1)
    await one.until(one.seqs)
    one.writer.checkpoint("exp", "run1")
    await one.until(lambda: one.written.get("aaaaaaaa") == 1)
    await one.until(lambda: not one.writer._eager)


def test_alone_lines_are_in_the_file_at_once_and_safe_only_when_that_is_due(root: Path) -> None:
    async def main() -> None:
        async with rig(root, fs := Noting(), checkpoint_s=LONG_S) as one:
            await _begun(one)
            fs.calls.clear()
            for last in (2, 3):
                one.steps("aaaaaaaa", last, last)
                await one.until(lambda: len(one.seqs()) == last)  # noqa: B023
            assert fs.calls == ["write", "write"]
            assert one.written == {"aaaaaaaa": 1}

    asyncio.run(main())


def test_what_alone_was_written_last_is_safe_after_a_while_though_nothing_follows(root: Path) -> None:
    async def main() -> None:
        async with rig(root, checkpoint_s=0.2) as one:
            await _begun(one)
            one.steps("aaaaaaaa", 2, 2)
            await one.until(lambda: one.written == {"aaaaaaaa": 2})

    asyncio.run(main())


@pytest.mark.usefixtures("_in_company")
def test_in_company_a_turn_gathers_writes_and_makes_safe_in_one_go(root: Path) -> None:
    async def main() -> None:
        async with rig(root, fs := Noting(), checkpoint_s=LONG_S) as one:
            await _begun(one)
            (output,) = one.writer._outputs.values()
            fs.calls.clear()
            for number in (2, 3, 4):
                before = output.backlog.queued_bytes
                one.steps("aaaaaaaa", number, number)
                await one.until(lambda: output.backlog.queued_bytes > before, 20)  # noqa: B023
            assert fs.calls == []
            _pause_is_over(one)
            await one.until(lambda: one.written == {"aaaaaaaa": 4})
            assert fs.calls == ["write", "begin of the sync", "sync", "check"]

    asyncio.run(main())


@pytest.mark.usefixtures("_in_company")
@pytest.mark.parametrize("much", [False, True])
def test_in_company_who_is_waited_for_or_has_much_is_served_at_once(root: Path, *, much: bool) -> None:
    async def main() -> None:
        async with rig(root, checkpoint_s=LONG_S) as one:
            await _begun(one)
            if much:
                one.events("aaaaaaaa", 2, event(text="x" * turns._MUCH_BYTES))
            else:
                one.steps("aaaaaaaa", 2, 2)
                await one.until(lambda: not one.journal.queued_bytes)
                one.writer.checkpoint("exp", "run1")
            await one.until(lambda: len(one.seqs()) == 2 if much else one.written == {"aaaaaaaa": 2})

    asyncio.run(main())


class _Waiting:
    """An output that has something to do, and somebody who waits for it."""

    has_work = is_hurried = True
    is_served, next_turn, last_turn_s, unsynced_since_s = False, None, 0.0, 0.0
    backlog = SimpleNamespace(in_journal=True, queued_bytes=0)


def test_what_ends_a_turn_in_an_unforeseen_way_ends_all_and_nobody_else_begins() -> None:
    said: list[dict[str, Any]] = []

    async def act(output: Any, _: bool) -> None:
        # Twice later, the group has been told, and whoever runs it has not.
        loop.call_soon(loop.call_soon, served.serve, other)
        raise SystemError(output)

    async def main() -> None:
        loop.set_exception_handler(lambda _, what: said.append(what))
        running = asyncio.create_task(served.run())
        await asyncio.sleep(0)
        served.serve(failing)
        with pytest.raises(BaseExceptionGroup):
            await running

    failing: Any = _Waiting()
    other: Any = _Waiting()
    served = turns.Turns(lambda: LONG_S, act)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(main())
    assert said == []
    assert not other.is_served


def test_a_turn_that_is_cancelled_alone_ends_no_other_and_may_begin_again() -> None:
    async def main() -> list[Any]:
        had = list[Any]()

        async def act(output: Any, _: bool) -> None:
            had.append(output)
            output.has_work = False
            if len(had) == 1:
                raise asyncio.CancelledError

        served = turns.Turns(lambda: LONG_S, act)
        running = asyncio.create_task(served.run())
        await asyncio.sleep(0)
        for count, output in enumerate((one, other, one), 1):
            output.has_work = True
            served.serve(output)
            async with asyncio.timeout(20):
                while len(had) < count or output.is_served:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        running.cancel()
        return had

    one: Any = _Waiting()
    other: Any = _Waiting()
    assert asyncio.run(main()) == [one, other, one]


class Small:
    """An output with a little to write, until it had its turn."""

    def __init__(self) -> None:
        self.is_served = self.is_hurried = False
        self.has_work, self.next_turn, self.last_turn_s, self.unsynced_since_s = True, None, 0.0, math.inf
        self.backlog = SimpleNamespace(in_journal=False, queued_bytes=10)


def _syncs(checkpoint_s: float) -> list[bool]:
    """Say of the turn of one output, and then of those of a crowd, whether they synced."""

    async def main() -> list[bool]:
        synced: list[bool] = []

        async def act(output: Any, sync: bool) -> None:
            output.has_work = False
            synced.append(sync)

        one = turns.Turns(lambda: checkpoint_s, act)
        running = asyncio.create_task(one.run())
        await asyncio.sleep(0)
        for crowd in (1, 150):
            before = len(synced)
            for _ in range(crowd):
                one.serve(cast(Output, Small()))
            async with asyncio.timeout(20):
                while len(synced) < before + crowd:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        running.cancel()
        return synced

    return asyncio.run(main())


def test_a_crowd_is_one_from_its_first_moment() -> None:
    assert _syncs(checkpoint_s=1.0) == [False] + 150 * [True]


def test_where_syncs_may_be_rare_a_crowd_does_not_sync_in_each_turn() -> None:
    assert _syncs(checkpoint_s=LONG_S) == 151 * [False]


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_what_one_call_wrote_and_synced_is_safe_with_all_before_it_and_its_name(
    root: Path, seed: int, *, is_new: bool
) -> None:
    fs = FakeFileSystem(random.Random(seed))

    async def main() -> Path:
        async with rig(root, fs) as one:
            file = CurrentFile(Checkpoint("exp", "run1", "jsonl"), one.writer, lambda: None)
            if not is_new:
                await file.write(b"a" * 200)
                await file.sync(cut=False)
                await file.write(b"b" * 200)
            await file.write(b"c" * 200, sync=True)
            await file.sync(cut=False)
            await file.close()
            return file.path

    path = asyncio.run(main())
    fs.crash()
    assert path.read_bytes() == (b"" if is_new else b"a" * 200 + b"b" * 200) + b"c" * 200
