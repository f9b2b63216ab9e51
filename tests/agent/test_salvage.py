"""`state.db` was lost: the running logs say where each output stands, and no line is lost or there twice."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from logferry_agent import salvage
from logferry_agent.verify import verify_run
from support.fakefs import FakeFileSystem
from support.writerrig import Rig, rig

NUMBERS = [f"aaaaaaaa-{number}" for number in range(1, 21)]


async def _first_part(one: Rig) -> Path:
    one.hello("aaaaaaaa")
    one.steps("aaaaaaaa", 1, 10)
    await one.quiet()
    return one.run_logs().path / "node7.jsonl"


async def _two_runs(root: Path, *, lose: bool = True) -> None:
    async with rig(root) as one:
        await _first_part(one)
        one.hello("bbbbbbbb", run="run2")
        one.steps("bbbbbbbb", 1, 10)
        await one.quiet()
    if lose:
        lose_database(root)


def lose_database(root: Path) -> None:
    for path in (root / "node").glob("state.db*"):
        path.unlink()


@pytest.mark.parametrize("damage", ["rubbish", "removed"])
def test_where_the_database_was_lost_the_files_say_where_they_stand(root: Path, damage: str) -> None:
    async def main() -> None:
        async with rig(root) as one:
            await _first_part(one)
        lose_database(root)
        if damage == "rubbish":
            (root / "node" / "state.db").write_bytes(b"this is no database" * 100)
        async with rig(root) as one:
            one.steps("aaaaaaaa", 11, 20)
            await one.quiet()
            assert bool(one.state.set_aside) == (damage == "rubbish")
            assert one.seqs() == NUMBERS
            assert os.listdir(one.run_logs().path) == ["node7.jsonl"]

    asyncio.run(main())


@pytest.mark.parametrize("damage", ["a line of the system's", ".zst", ".gz", "a link"])
def test_where_the_database_was_lost_a_damaged_file_of_one_run_holds_up_nobody(root: Path, damage: str) -> None:
    async def main() -> None:
        async with rig(root) as one:
            path = await _first_part(one)
            one.hello("bbbbbbbb", run="run2")
            one.steps("bbbbbbbb", 1, 10)
            await one.quiet()
        lose_database(root)
        if damage == "a line of the system's":
            with path.open("ab") as file:
                file.write(b'\0\0"event":"logferry.seal" and half a line\n')
        elif damage != "a link":
            path.with_name(f"node7.20250730T130000Z-1.jsonl{damage}").write_bytes(b"no frame")
        else:
            path.with_name("node7~2.jsonl").symlink_to(root)
        async with rig(root) as one:
            one.steps("aaaaaaaa", 11, 20)
            one.steps("bbbbbbbb", 11, 20)
            await one.until(lambda: one.written == {"aaaaaaaa": 20, "bbbbbbbb": 20})
            found = [
                name
                for path in one.run_logs().path.glob("node7*.jsonl")
                if not path.is_symlink()
                for name in re.findall(r"aaaaaaaa-\d+", path.read_text())
            ]
            assert found == NUMBERS
            await one.quiet()

    asyncio.run(main())


@pytest.mark.parametrize("operation", ["read", "open", "fsync", "pread"])
def test_a_file_that_cannot_be_read_now_holds_its_own_output_until_it_can(
    root: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.writer._RETRY_S", 0.05)
    fs, blocks, is_broken = FakeFileSystem(), salvage.blocks, operation == "read"

    def read(path: Path) -> Iterator[bytes]:
        if is_broken and path.parent.name == "run1":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return blocks(path)

    async def main() -> None:
        nonlocal is_broken
        await _two_runs(root)
        if not is_broken:
            fs.fail(operation, errno.EIO, "run1", times=10**9)
        monkeypatch.setattr(salvage, "blocks", read)
        async with rig(root, fs) as one:
            one.steps("aaaaaaaa", 11, 20)
            one.steps("bbbbbbbb", 11, 20)
            await one.until(lambda: one.written.get("bbbbbbbb") == 20 and one.writer.held())
            (held,) = one.writer.held()
            path = str(one.run_logs().path / "node7.jsonl")
            assert (held.what, held.path, held.error) == ("output", path, os.strerror(errno.EIO))
            assert one.writer.held_runs() == {("exp", "run1")}
            assert one.writer.least_position() < one.journal.durable
            is_broken = False
            fs.heal()
            await one.quiet()
            assert one.seqs() == NUMBERS
            await one.until(lambda: not one.writer.held())

    asyncio.run(main())


def test_what_could_not_be_read_in_one_life_is_read_in_the_next(root: Path) -> None:
    async def main() -> None:
        await _two_runs(root)
        fs = FakeFileSystem()
        fs.fail("open", errno.EIO, "run1", times=10**9)
        async with rig(root, fs) as one:
            one.steps("aaaaaaaa", 11, 15)
            one.steps("bbbbbbbb", 11, 20)
            await one.until(lambda: one.written.get("bbbbbbbb") == 20 and one.writer.held())
        async with rig(root) as one:
            one.steps("aaaaaaaa", 16, 20)
            await one.quiet()
            assert one.seqs() == NUMBERS
            assert os.listdir(one.run_logs().path) == ["node7.jsonl"]

    asyncio.run(main())


def test_retention_leaves_the_file_of_an_output_that_has_not_learnt_where_it_stands(root: Path) -> None:
    async def main() -> None:
        await _two_runs(root)
        fs = FakeFileSystem()
        fs.fail("pread", errno.EIO, "run1", times=10**9)
        async with rig(root, fs, keep_bytes=1024) as one:
            one.steps("aaaaaaaa", 11, 20)
            await one.until(one.writer.held_runs)
            assert str(one.run_logs().path / "node7.jsonl") not in map(str, await one.writer.prune())
            assert {problem.what for problem in one.writer.held()} == {"output", "retention"}
            fs.heal()
            await one.quiet()
            assert one.seqs() == NUMBERS

    asyncio.run(main())


def test_a_run_that_was_quiet_when_the_database_was_lost_goes_on_in_its_file_whenever_that_is(root: Path) -> None:
    """Its records had left the journal, so nothing was known of it until it logged again, some lives later."""

    async def main() -> None:
        await _two_runs(root, lose=False)
        for first, is_lost in ((11, False), (21, True), (31, False), (41, False)):
            if is_lost:
                lose_database(root)
            async with rig(root) as one:
                one.steps("bbbbbbbb", first, first + 9)
                await one.quiet()
                one.journal.trim(one.writer.least_position())
        async with rig(root) as one:
            one.steps("aaaaaaaa", 11, 20)
            await one.quiet()
            assert one.seqs() == NUMBERS
            assert os.listdir(one.run_logs().path) == ["node7.jsonl"]

    asyncio.run(main())


def test_lines_whose_files_retention_removed_do_not_come_again_when_the_database_is_lost(root: Path) -> None:
    """The journal may hold them longer than the files."""

    async def main() -> None:
        config = {"rotate_bytes": 4096, "compress": "none", "final_after_s": 0}
        async with rig(root, **config) as one:
            one.hello("aaaaaaaa")
            one.hello("bbbbbbbb")
            one.steps("aaaaaaaa", 1, 60)
            one.seal("aaaaaaaa", 60)
            await one.quiet()
            for first in range(1, 181, 60):
                one.steps("bbbbbbbb", first, first + 59)
                await one.quiet()
            one.writer.config = replace(one.config, keep_files=1)
            assert await one.writer.prune()
            assert b"aaaaaaaa" not in one.raw()
        lose_database(root)
        async with rig(root, **config) as one:
            one.steps("bbbbbbbb", 181, 190)
            one.seal("bbbbbbbb", 190)
            await one.quiet()
            assert b"aaaaaaaa" not in one.raw()
            assert verify_run(one.run_logs())["complete"]

    asyncio.run(main())
