"""What retention must not do: take a file that lines still go to, or one of which nobody knows what it held."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from logferry.cli import FINE
from logferry.layout import host_name
from logferry_agent import prune
from logferry_agent.fs import FileSystem
from logferry_agent.logset import RunLogs
from logferry_agent.prune import pruned
from logferry_agent.rotation import LogFile, LogName, expired, parse_name
from logferry_agent.state import Key, State
from logferry_agent.verify import verify_run
from support.fakefs import Crash, FakeFileSystem
from support.writerrig import START_NS, Rig, rig


def file_at(path: Path) -> LogFile:
    name = parse_name(path.name)
    assert isinstance(name, LogName)
    return LogFile(path, path.stat().st_size, START_NS, active=False, name=name)


@pytest.mark.parametrize("seed", range(12))
def test_after_a_power_failure_at_any_call_a_file_is_there_or_what_it_held_is_written_down(
    root: Path, seed: int
) -> None:
    line = b'{"event":"E","seq":"aaaaaaaa-%d"}\n'
    fs, run = FakeFileSystem(random.Random(seed)), RunLogs("exp", "run1", root / "run1")
    fs.make_directories(run.path, root)
    paths = [run.path / f"n.20250730T130000Z-{number}.jsonl" for number in (1, 2)]
    for number, path in enumerate(paths, 1):
        fd = fs.open(path, os.O_RDWR | os.O_CREAT)
        fs.pwritev(fd, [line % number], 0)
        fs.fsync(fd)
        fs.close(fd)
    fs.sync_directory(run.path)
    fs.sync_directory(root)
    prune.remove(fs, file_at(paths[0]), 0)
    fs.crash_at = len(fs.calls) + 1 + seed
    with contextlib.suppress(Crash):
        prune.remove(fs, file_at(paths[1]), 0)
    fs.crash()
    noted = {file["file"] for file in pruned(run)}
    assert {path.name for path in paths} - noted <= set(os.listdir(run.path))


def test_what_a_crash_left_of_a_note_spoils_no_other(root: Path) -> None:
    run = RunLogs("exp", "run1", root)
    path = root / "n.20250730T130000Z-1.jsonl"
    path.write_bytes(b'{"event":"E","seq":"aaaaaaaa-1"}\n')
    (root / "n.pruned").write_bytes(b'{"time": "2025-07-30T13:00:0')
    prune.remove(FakeFileSystem(), file_at(path), 0)
    assert [file["producers"] for file in pruned(run)] == [{"aaaaaaaa": [[1, 1]]}]


def test_a_text_rendering_goes_without_a_note(root: Path) -> None:
    path = root / "n.20250730T130000Z-1.log"
    path.write_bytes(b"2025-07-30 13:00:05 [INFO] E\n")
    prune.remove(FileSystem(), file_at(path), 0)
    assert os.listdir(root) == []


def test_more_active_files_than_may_stay_are_left(root: Path) -> None:
    """Two hosts of one name, or a file whose renaming is noted: lines go to both."""
    names = ["n.20250101T000000Z-1.jsonl", "n.20250101T000000Z-2.jsonl", "n.jsonl"]
    files = [LogFile(root / name, 100, START_NS, active=True, name=parse_name(name)) for name in names]  # type: ignore[arg-type]
    assert expired(files, START_NS, 1, None, None) == []
    assert expired([files[0]._replace(active=False), *files[1:]], START_NS, 1, None, None) == [
        files[0]._replace(active=False)
    ]


async def _begun(one: Rig) -> Path:
    one.hello("aaaaaaaa")
    one.steps("aaaaaaaa", 1, 20)
    await one.quiet()
    return one.run_logs().path / "node7.jsonl"


async def _final(one: Rig) -> Path:
    """Return the one file of a run that has ended, which retention wants to have."""
    path = await _begun(one)
    one.seal("aaaaaaaa", 20)
    await one.quiet()
    one.now += 10**9
    await one.writer._upkeep._finalise()
    one.writer.config = replace(one.config, keep_bytes=1024)
    return path


def test_a_file_that_got_lines_after_it_was_chosen_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with rig(root, final_after_s=0) as one:
            path = await _final(one)
            in_use = one.state.current_files

            def late() -> set[tuple[str, str, str]]:  # the run is begun again by another producer
                found = in_use()
                one.hello("bbbbbbbb")
                one.steps("bbbbbbbb", 1, 20)
                return found

            monkeypatch.setattr(one.state, "current_files", late)
            remove = one.writer._upkeep._remove

            async def after_it_was_written(file: LogFile) -> bool:
                await one.until(lambda: one.written.get("bbbbbbbb") == 20)
                return await remove(file)

            monkeypatch.setattr(one.writer._upkeep, "_remove", after_it_was_written)
            assert await one.writer.prune() == []
            assert path.exists()
            assert len(one.seqs()) == 41

    asyncio.run(main())


def test_after_a_final_file_went_the_next_line_goes_to_a_new_one_and_nothing_was_removed_by_others(root: Path) -> None:
    async def main() -> None:
        async with rig(root, final_after_s=0) as one:
            path = await _final(one)
            assert await one.writer.prune() == [path]
            one.hello("bbbbbbbb")
            one.steps("bbbbbbbb", 1, 5)
            await one.quiet()
            assert one.seqs() == [f"bbbbbbbb-{number}" for number in range(1, 6)]
            assert verify_run(one.run_logs())["faults"] == []

    asyncio.run(main())


def test_a_run_of_which_files_are_left_keeps_its_checkpoint(root: Path) -> None:
    async def main() -> None:
        async with rig(root, rotate_bytes=4096, compress="none", final_after_s=0) as one:
            one.hello("aaaaaaaa")
            for first in range(1, 201, 50):
                one.steps("aaaaaaaa", first, first + 49)
                await one.quiet()
            one.seal("aaaaaaaa", 200)
            await one.quiet()
            one.now += 10**9
            await one.writer._upkeep._finalise()
            one.writer.config = replace(one.config, keep_files=1)
            assert await one.writer.prune()
            assert one.state.checkpoint(Key("exp", "run1", "jsonl")) is not None
            one.writer.config = replace(one.config, keep_files=None, keep_age_s=1e-6)
            one.now = 2**62
            assert await one.writer.prune()
            assert one.state.checkpoint(Key("exp", "run1", "jsonl")) is None

    asyncio.run(main())


def test_without_an_agent_a_file_that_lines_may_go_to_stays_and_one_that_goes_is_left_by_its_output(
    root: Path, home: Path, node_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with rig(root, host=host_name()) as one:
            await _begun(one)

    asyncio.run(main())
    path = home / "logs" / "exp" / "run1" / f"{host_name()}.jsonl"
    (root / "logferry.toml").write_text("[agent]\nkeep_bytes = 1024\n")
    monkeypatch.setenv("LOGFERRY_CONFIG", str(root / "logferry.toml"))
    assert prune.prune(["--json"]) == FINE
    assert path.exists()
    state = State(node_dir / "state.db", 0)
    known = state.checkpoint(Key("exp", "run1", "jsonl"))
    assert known
    state.commit([known._replace(final=True)], [], state.dispatched())
    state.close()
    assert prune.prune(["--json"]) == FINE
    assert not path.exists()
    state = State(node_dir / "state.db", 0)
    known = state.checkpoint(Key("exp", "run1", "jsonl"))
    state.close()
    assert known
    assert (known.name, known.cursors["aaaaaaaa"].last) == (None, 20)


def test_a_note_that_cannot_be_made_safe_keeps_its_file(root: Path) -> None:
    path = root / "n.20250730T130000Z-1.jsonl"
    path.write_bytes(b'{"event":"E","seq":"aaaaaaaa-1"}\n')
    for operation in ("pwritev", "fsync", "sync_directory"):
        fs = FakeFileSystem()
        fs.fail(operation, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            prune.remove(fs, file_at(path), 0)
        assert path.exists()
    prune.remove(FakeFileSystem(), file_at(path), 0)
    assert [file["producers"] for file in pruned(RunLogs("exp", "run1", root))] == [{"aaaaaaaa": [[1, 1]]}]
