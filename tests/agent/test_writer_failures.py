"""Crashes and failures while running logs are written: the files hold the same bytes as if nothing had been."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from logferry_agent.rotation import in_order
from logferry_agent.state import Key, State
from support.fakefs import Crash, FakeFileSystem
from support.writerrig import Rig, rig

CONFIG = {"rotate_bytes": 4096, "compress": "none", "checkpoint_s": 0.05, "text": True, "text_level": "DEBUG"}
NUMBERS = [f"aaaaaaaa-{number}" for number in range(1, 121)]


async def live(root: Path, fs: FakeFileSystem | None, first: int, last: int) -> None:
    """Live until all is written, or the process dies."""
    with contextlib.suppress(Crash, BaseExceptionGroup, asyncio.CancelledError):
        async with rig(root, fs, **CONFIG) as one:
            if first == 1:
                one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", first, last)
            await one.until(lambda: one.journal.durable and not one.journal.queued_bytes)
            await one.until(lambda: one.written.get("aaaaaaaa") == last or died(fs))


def died(fs: FakeFileSystem | None) -> bool:
    return fs is not None and fs.crash_at is not None and len(fs.calls) >= fs.crash_at


def content(root: Path) -> tuple[bytes, bytes]:
    """Return the JSON lines and the text, each file after file."""

    async def main() -> tuple[bytes, bytes]:
        async with rig(root, **CONFIG) as one:
            await one.quiet()
            path = one.run_logs().path
            text = b"".join((path / log.name).read_bytes() for log in in_order(os.listdir(path), "text"))
            return one.raw(), text

    return asyncio.run(main())


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 22, 25])
def test_a_death_at_any_step_leaves_the_bytes_of_an_uninterrupted_run(root: Path, step: int) -> None:
    fs = FakeFileSystem()
    fs.crash_at = step
    asyncio.run(live(root / "crashed", fs, 1, 60))
    asyncio.run(live(root / "crashed", None, 61, 120))
    asyncio.run(live(root / "whole", None, 1, 60))
    asyncio.run(live(root / "whole", None, 61, 120))
    assert content(root / "crashed") == content(root / "whole")
    assert len(content(root / "whole")[1].splitlines()) == 120


@pytest.mark.parametrize("seed", range(8))
def test_a_power_failure_that_loses_and_tears_what_was_not_synced_leaves_those_bytes_too(root: Path, seed: int) -> None:
    fs = FakeFileSystem(random.Random(seed))
    fs.crash_at = 6 + 3 * seed
    asyncio.run(live(root / "crashed", fs, 1, 60))
    fs.crash_at = None
    fs.crash()
    asyncio.run(live(root / "crashed", None, 61, 120))
    asyncio.run(live(root / "whole", None, 1, 120))
    assert content(root / "crashed") == content(root / "whole")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["pwritev", "fsync", "sync_directory", "open"])
def test_a_failing_call_holds_the_output_until_it_works_and_nothing_is_lost_or_doubled(
    root: Path, operation: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.writer._RETRY_S", 0.05)

    async def main() -> None:
        fs = FakeFileSystem()
        fs.short_writes = True
        async with rig(root, fs, **CONFIG) as one:
            one.hello("aaaaaaaa")
            fs.fail(operation, number, "home", times=3)
            one.steps("aaaaaaaa", 1, 60)
            await one.until(one.writer.held)
            assert one.writer.held()[0].error == os.strerror(number)
            assert one.writer.held_runs() == {("exp", "run1")}
            one.steps("aaaaaaaa", 61, 120)
            await one.quiet()
            assert one.seqs() == NUMBERS
            assert not one.writer.held()

    asyncio.run(main())


def test_checkpoints_that_a_full_disk_refuses_are_held_without_a_traceback(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("logferry_agent.writer._RETRY_S", 0.05)

    async def main() -> None:
        async with rig(root, **CONFIG) as one:
            commit, refusals = one.state.commit, iter(range(3))

            def full(*given: Any) -> None:
                if next(refusals, None) is not None:
                    raise sqlite3.OperationalError("database or disk is full")
                commit(*given)

            monkeypatch.setattr(one.state, "commit", full)
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 30)
            await one.until(one.writer.held)
            await one.until(lambda: one.written.get("aaaaaaaa") == 30 and not one.writer.held())

    asyncio.run(main())
    assert any("disk is full" in line for line in caplog.messages)
    assert not any(record.exc_info for record in caplog.records)


def test_a_held_output_does_not_stop_another_and_keeps_its_place_in_the_journal(root: Path) -> None:
    async def main() -> None:
        fs = FakeFileSystem()
        async with rig(root, fs, **CONFIG) as one:
            one.hello("aaaaaaaa")
            one.hello("bbbbbbbb", run="run2")
            fs.fail("pwritev", errno.ENOSPC, "run1", times=10**9)
            one.steps("aaaaaaaa", 1, 30)
            one.steps("bbbbbbbb", 1, 30)
            await one.until(lambda: one.written.get("bbbbbbbb") == 30 and one.writer.held())
            assert "aaaaaaaa" not in one.written
            assert one.writer.least_position() < one.journal.durable
            left = await one.writer.drain(one.loop.time() + 0.1)
            assert "run1" in left
            assert "No space left" in left

    asyncio.run(main())


async def _first_part(one: Rig) -> Path:
    one.hello("aaaaaaaa")
    one.steps("aaaaaaaa", 1, 10)
    await one.quiet()
    return one.run_logs().path / "node7.jsonl"


def test_a_removed_file_is_followed_by_a_new_one_that_says_so(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            (await _first_part(one)).unlink()
            one.steps("aaaaaaaa", 11, 20)
            await one.until(lambda: one.written.get("aaaaaaaa") == 20)
            await one.quiet()
            marker = next(line for line in one.lines() if line["event"] == "logferry.gap")
            assert (marker["cause"], marker["file"]) == ("removed by someone else", "node7.jsonl")
            assert [seq for seq in one.seqs() if seq.startswith("aaaaaaaa")] == NUMBERS[10:20]
            assert os.listdir(one.run_logs().path) == ["node7~2.jsonl"]

    asyncio.run(main())


@pytest.mark.parametrize("moment", ["fsync", "commit"])
@pytest.mark.parametrize("harm", ["removed", "truncated"])
def test_what_was_not_reported_when_the_file_went_is_in_the_new_file(
    root: Path, moment: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with rig(root) as one:
            path = await _first_part(one)
            reported = one.written["aaaaaaaa"]

            def harmed() -> None:
                if path.exists() and path.stat().st_size > 5:
                    path.unlink() if harm == "removed" else os.truncate(path, 5)

            if moment == "commit":
                commit = one.state.commit
                monkeypatch.setattr(one.state, "commit", lambda *given: (harmed(), commit(*given)))
            else:
                sync = one.fs.fsync
                monkeypatch.setattr(one.fs, "fsync", lambda fd: (harmed(), sync(fd)))
            one.steps("aaaaaaaa", 11, 30)
            await one.until(lambda: one.written.get("aaaaaaaa") == 30)
            await one.until(lambda: b"removed by" in one.raw())
            await one.quiet()
            lines = [line for line in one.raw().splitlines() if line.startswith(b"{") and line.endswith(b"}")]
            new = [json.loads(line)["seq"] for line in lines]
            assert [seq for seq in new if seq.startswith("aaaa")] == NUMBERS[reported:30]
            assert sum(b"removed by" in line for line in lines) == 1

    asyncio.run(main())


def test_a_truncated_file_is_left_alone(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            path = await _first_part(one)
            os.truncate(path, 5)
            one.steps("aaaaaaaa", 11, 20)
            await one.until(lambda: one.written.get("aaaaaaaa") == 20)
            await one.quiet()
            assert len(path.read_bytes()) == 5
            assert [seq for seq in one.seqs() if seq.startswith("aaaaaaaa")][-10:] == NUMBERS[10:20]

    asyncio.run(main())


def test_a_name_that_is_taken_by_something_unknown_is_left_alone(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            taken = one.run_logs().path / "node7.jsonl"
            taken.parent.mkdir(parents=True)
            taken.write_text("mine\n")
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            await one.quiet()
            assert taken.read_text() == "mine\n"
            assert (taken.parent / "node7~2.jsonl").exists()

    asyncio.run(main())


def test_a_link_among_the_directories_is_not_followed(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            (root / "elsewhere").mkdir()
            one.home.logs.mkdir()
            (one.home.logs / "exp").symlink_to(root / "elsewhere")
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            await one.until(one.writer.held)
            assert "link" in one.writer.held()[0].error
            assert not any((root / "elsewhere").iterdir())

    asyncio.run(main())


def test_a_text_file_that_may_be_somebody_elses_is_not_cut(root: Path) -> None:
    async def main() -> None:
        async with rig(root, **CONFIG) as one:
            await _first_part(one)
        text = (root / "home" / "logs" / "exp" / "run1") / "node7.log"
        text.write_text("mine\n")
        state = State(root / "node" / "state.db", 0)
        known = state.checkpoint(Key("exp", "run1", "text"))
        assert known is not None
        # As after a crash between the file's creation and its first checkpoint, and a home that was restored.
        begun = known._replace(position=0, offset=0, tail=b"", cursors={}, inode=known.inode + 1)
        state.commit([begun], [], 0)
        state.close()
        async with rig(root, **CONFIG) as one:
            await one.quiet()
            assert text.read_text() == "mine\n"
            assert len(text.with_name("node7~2.log").read_text().splitlines()) == 10

    asyncio.run(main())


def test_a_drain_does_not_leave_what_failed_once_to_the_time_at_which_its_sync_is_due(root: Path) -> None:
    fs = FakeFileSystem()

    async def main() -> None:
        async with rig(root, fs, checkpoint_s=60) as one:
            fs.fail("open", errno.EMFILE, ".jsonl")
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            await one.until(one.writer.held)
            await one.quiet(20)

    asyncio.run(main())
