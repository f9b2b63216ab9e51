"""A file system that hangs, few descriptors, clocks that jump: what is concerned waits, all else goes on."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from logferry.events import ERROR
from logferry_agent.filters import Filters
from logferry_agent.fs import FileSystem
from support.fakefs import FakeFileSystem
from support.writerrig import event, rig

HELD = 12  # more than there are places for calls


class Hanging(FileSystem):
    """Writes to paths that contain `held` do not return until `release`."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self._held: set[int] = set()
        self.most_open = 0

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        fd = super().open(path, flags, mode)
        if "held" in str(path):
            self._held.add(fd)
        self.most_open = max(
            self.most_open, sum(_target(one).endswith(".jsonl") for one in os.listdir("/proc/self/fd"))
        )
        return fd

    def pwritev(self, fd, buffers, offset):  # type: ignore[no-untyped-def]
        if fd in self._held:
            self.release.wait(30)
        return super().pwritev(fd, buffers, offset)


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # another thread has closed it meanwhile
        return ""


@pytest.fixture
def fs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr("logferry_agent.calls.PATIENCE_S", 0.1)
    found = Hanging()
    yield found
    found.release.set()


def test_outputs_that_hang_are_said_and_stop_no_other_and_all_is_there_in_the_end(root: Path, fs: Hanging) -> None:
    async def main() -> None:
        async with rig(root, fs) as one:
            for number in range(HELD):
                one.hello(f"aaaaaa{number:02d}", run=f"held{number}")
                one.steps(f"aaaaaa{number:02d}", 1, 20)
            one.hello("bbbbbbbb", run="free")
            one.steps("bbbbbbbb", 1, 20)
            await one.until(lambda: one.written.get("bbbbbbbb") == 20)
            await one.until(lambda: len(one.writer.held()) == HELD)
            assert "has not returned" in one.writer.held()[0].error
            assert one.writer.memory.used == 0
            began = one.loop.time()
            left = await one.writer.drain(began + 0.3)
            assert one.loop.time() < began + 1
            assert "held0" in left
            assert "more files" in left
            fs.release.set()
            await one.quiet()
            assert not one.writer.held()
            for number in range(HELD):
                assert one.seqs(f"held{number}") == [f"aaaaaa{number:02d}-{n}" for n in range(1, 21)]

    asyncio.run(main())


def test_another_configuration_is_in_force_although_an_output_hangs(root: Path, fs: Hanging) -> None:
    async def main() -> None:
        async with rig(root, fs, text=True) as one:
            for name, run in (("aaaaaaaa", "held"), ("bbbbbbbb", "free")):
                one.hello(name, run=run)
                one.events(name, 1, event("Before"))
            await one.until(lambda: len(one.writer.held()) == 2)
            quieter = replace(one.config, text_level=ERROR)
            one.writer.reconfigure(quieter, Filters(quieter, {}))
            for name in ("aaaaaaaa", "bbbbbbbb"):
                one.events(name, 2, event("Hidden"), event("After", level=ERROR))
            await one.until(lambda: one.written.get("bbbbbbbb") == 3)
            text = one.run_logs("free").path / "node7.log"
            await one.until(lambda: "After" in text.read_text())
            assert [line.split()[-1] for line in text.read_text().splitlines()] == ["Before", "After"]
            fs.release.set()
            await one.quiet()
            assert one.seqs("held") == [f"aaaaaaaa-{n}" for n in range(1, 4)]

    asyncio.run(main())


def test_a_fifo_in_place_of_a_running_log_is_left_alone(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            await one.quiet()
        path = one.run_logs().path / "node7.jsonl"
        path.unlink()
        os.mkfifo(path)
        os.mkfifo(path.with_name("node7.20250101T000000Z-9.jsonl"))
        async with rig(root, rotate_bytes=4096, keep_age_s=1, final_after_s=0) as one:
            one.steps("aaaaaaaa", 11, 20)
            await one.until(lambda: one.written.get("aaaaaaaa") == 20)
            one.now = 2**62
            assert await one.writer.prune() == []
            await one.writer._upkeep._scan()
            assert path.is_fifo()
            assert b"aaaaaaaa-20" in (path.parent / "node7~2.jsonl").read_bytes()

    asyncio.run(main())


def test_never_more_files_are_open_than_configured_whoever_writes(root: Path) -> None:
    async def main() -> None:
        fs = Hanging()
        async with rig(root, fs, open_files=8) as one:
            for number in range(40):
                one.hello(f"aaaaaa{number:02d}", run=f"run{number}")
            for first in (1, 6):
                for number in range(40):
                    one.steps(f"aaaaaa{number:02d}", first, first + 4)
            await one.quiet()
            for number in range(40):
                assert one.seqs(f"run{number}") == [f"aaaaaa{number:02d}-{n}" for n in range(1, 11)]
            assert 0 < fs.most_open <= 8
            assert one.writer.open_files.count <= 8

    asyncio.run(main())


def test_held_does_not_flicker_while_writes_go_on_failing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.writer._RETRY_S", 0.03)
    monkeypatch.setattr("logferry_agent.output._STEP_BYTES", 100)
    monkeypatch.setattr("logferry_agent.output._READ_BYTES", 500)

    class Full(FileSystem):
        """Takes the first 4,000 bytes of a file."""

        def pwritev(self, fd, buffers, offset):  # type: ignore[no-untyped-def]
            if offset + sum(map(len, buffers)) > 4000 and not freed:
                raise OSError(28, "No space left on device")
            time.sleep(0.002)
            return super().pwritev(fd, buffers, offset)

    freed: list[bool] = []

    async def main() -> None:
        async with rig(root, Full(), checkpoint_s=0.05) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 300)
            await one.until(one.writer.held)
            (first,) = one.writer.held()
            for _ in range(60):
                one.writer.checkpoint("exp", "run1")  # and again: what fits is checkpointed well
                await asyncio.sleep(0.005)
                assert [problem.since_ns for problem in one.writer.held()] == [first.since_ns]
                one.now += 1
            freed.append(True)
            await one.quiet()
            assert not one.writer.held()
            assert one.seqs() == [f"aaaaaaaa-{n}" for n in range(1, 301)]

    asyncio.run(main())


def test_a_file_that_cannot_be_pruned_or_compressed_stops_no_other(root: Path) -> None:
    async def main() -> None:
        fs = FakeFileSystem()
        async with rig(root, fs, rotate_bytes=4096, compress="none", final_after_s=0, keep_files=1) as one:
            one.writer.config = replace(one.config, keep_files=None)
            one.hello("aaaaaaaa")
            for first in range(1, 301, 50):
                one.steps("aaaaaaaa", first, first + 49)
                await one.quiet()
            directory = one.run_logs().path
            bad = min(directory.glob("node7.*-1.jsonl"))
            bad.rename(bad.with_name(bad.name + ".zst"))  # not compressed at all
            (directory / "node7.20240101T000000Z-0.jsonl").symlink_to("/etc/passwd")
            one.writer.config = one.config
            removed = await one.writer.prune()
            assert len(removed) >= 3
            assert [problem.path for problem in one.writer.held()] == [f"{bad}.zst"]
            assert (directory / "node7.20240101T000000Z-0.jsonl").is_symlink()

    asyncio.run(main())


def test_a_final_file_that_is_written_to_again_is_not_pruned(root: Path) -> None:
    async def main() -> None:
        async with rig(root, final_after_s=0, keep_age_s=1) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            one.seal("aaaaaaaa", 10)
            await one.quiet()
            await one.writer._upkeep._finalise()
            one.now = 2**62
            one.hello("bbbbbbbb")
            one.steps("bbbbbbbb", 1, 10)
            await one.until(lambda: one.written.get("bbbbbbbb") == 10)
            assert await one.writer.prune() == []
            await one.quiet()
            assert "bbbbbbbb-10" in one.seqs()

    asyncio.run(main())


def test_after_retention_took_a_final_file_later_lines_go_to_a_new_one_and_nothing_is_called_removed(
    root: Path,
) -> None:
    async def main() -> None:
        async with rig(root, final_after_s=0, keep_age_s=1) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            one.seal("aaaaaaaa", 10)
            await one.quiet()
            await one.writer._upkeep._finalise()
            now, one.now = one.now, 2**62
            assert len(await one.writer.prune()) == 1
            one.now = now
            one.hello("bbbbbbbb")
            one.steps("bbbbbbbb", 1, 10)
            await one.quiet()
            assert one.seqs() == [f"bbbbbbbb-{n}" for n in range(1, 11)]

    asyncio.run(main())


def test_clocks_that_jump_back_keep_neither_rotation_nor_finality_from_coming(root: Path) -> None:
    async def main() -> None:
        async with rig(root, rotate_age_s=60, compress="none", final_after_s=600) as one:
            real, one.now = one.now, one.now + 365 * 86400 * 10**9
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            one.seal("aaaaaaaa", 10)
            await one.quiet()
            one.now = real  # the clock was a year ahead
            await one.writer._upkeep._finalise()
            assert not one.state.current_files()
            one.hello("bbbbbbbb")
            one.steps("bbbbbbbb", 1, 10)
            await one.quiet()
            one.now += 61 * 10**9
            one.steps("bbbbbbbb", 11, 20)
            await one.quiet()
            assert len(os.listdir(one.run_logs().path)) == 1
            assert not (one.run_logs().path / "node7.jsonl").exists()

    asyncio.run(main())
