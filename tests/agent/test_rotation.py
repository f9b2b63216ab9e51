"""Rotation, compression and retention: names, order, what goes and what stays."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from logferry_agent import upkeep
from logferry_agent.compression import compress
from logferry_agent.content import blocks
from logferry_agent.current_file import CurrentFile
from logferry_agent.fs import FileSystem
from logferry_agent.rotation import LogFile, expired, in_order, is_due, parse_name, rotated_name
from logferry_agent.state import Key
from logferry_agent.verify import verify_run
from support.fakefs import Crash, FakeFileSystem
from support.writerrig import START_NS, Rig, rig

HOUR_NS = 3600 * 10**9


async def never(_: CurrentFile) -> None:
    """Stand for a step at which the agent dies."""
    await asyncio.Event().wait()


def test_the_order_of_files_is_their_number_not_their_clock() -> None:
    names = [
        "n.jsonl",
        "n.20300101T000000Z-2.jsonl.zst",
        "n.20250101T000000Z-10.jsonl",
        "n.20310101T000000Z-1.jsonl.gz",
    ]
    assert [log.number for log in in_order([*names, "n.log", ".n.tmp", "n.pruned"])] == [1, 2, 10, 0]


def test_a_file_left_uncompressed_by_a_crash_is_read_once() -> None:
    names = ["n.20250101T000000Z-1.jsonl", "n.20250101T000000Z-1.jsonl.zst"]
    assert [log.name for log in in_order(names)] == names[:1]


def test_hosts_with_dots_and_variants_are_told_apart() -> None:
    found = parse_name("gpu1.cluster~3.20250730T130000Z-7.jsonl.zst")
    assert found
    assert (found.host, found.variant, found.number, found.packed) == ("gpu1.cluster", 3, 7, ".zst")


def test_a_rotated_name_reads_back() -> None:
    found = parse_name(rotated_name("n~2.log", START_NS, 4))
    assert found
    assert (found.host, found.variant, found.number, found.kind) == ("n", 2, 4, "text")


def test_a_clock_that_jumps_back_rotates_nothing_and_an_empty_file_never_rotates() -> None:
    assert not is_due(10, START_NS, START_NS - HOUR_NS, 100, 60)
    assert not is_due(0, START_NS, START_NS + HOUR_NS, 100, 60)
    assert is_due(10, START_NS, START_NS + HOUR_NS, 100, 60)
    assert is_due(100, START_NS, START_NS, 100, None)


def logs(*ages_h: float, active: bool = True) -> list[LogFile]:
    files = []
    for number, age in enumerate(ages_h, 1):
        last = number == len(ages_h)
        log = parse_name("n.jsonl" if last else f"n.20250101T000000Z-{number}.jsonl")
        assert log
        files.append(LogFile(Path("/run") / log.name, 100, START_NS - int(age * HOUR_NS), active and last, log))
    return files


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ((None, None, None), 0),
        ((2, None, None), 2),
        ((1, None, None), 3),
        ((None, 2.5 * 3600, None), 2),
        ((None, None, 250), 2),
    ],
)
def test_retention_by_count_age_and_bytes_removes_the_oldest(limits: tuple, gone: int) -> None:
    files = logs(4, 3, 2, 1)
    assert expired(files, START_NS, *limits) == files[:gone]


def test_an_active_file_stays_whatever_its_age_and_size() -> None:
    assert expired(logs(1000), START_NS, 1, 1, 1) == []


def test_a_clock_far_in_the_past_removes_nothing_by_age() -> None:
    assert expired(logs(4, 3, 2, 1), START_NS - 100 * HOUR_NS, None, 3600, None) == []


@pytest.mark.parametrize(("kind", "suffix"), [("zstd", ".zst"), ("gzip", ".gz")])
def test_compression_keeps_content_and_time_and_leaves_one_file(root: Path, kind: str, suffix: str) -> None:
    path = root / "n.20250101T000000Z-1.jsonl"
    path.write_bytes(b"line\n" * 1000)
    os.utime(path, ns=(1, START_NS))
    new = compress(FileSystem(), path, kind)
    assert os.listdir(root) == [path.name + suffix]
    assert b"".join(blocks(new)) == b"line\n" * 1000
    assert new.stat().st_mtime_ns == START_NS


@pytest.mark.parametrize("step", range(1, 11))
def test_compression_can_be_done_again_after_a_death_at_any_step(root: Path, step: int) -> None:
    path = root / "n.20250101T000000Z-1.jsonl"
    path.write_bytes(b"line\n" * 1000)
    fs = FakeFileSystem()
    fs.crash_at = step
    try:
        compress(fs, path, "gzip")
    except Crash:
        (log,) = in_order(os.listdir(root))
        assert b"".join(blocks(root / log.name)) == b"line\n" * 1000
        if path.exists():
            compress(FileSystem(), path, "gzip")
    assert gzip.decompress((root / f"{path.name}.gz").read_bytes()) == b"line\n" * 1000
    assert len(in_order(os.listdir(root))) == 1


def test_a_run_is_read_in_order_through_rotated_and_compressed_files(root: Path) -> None:
    async def main() -> None:
        async with rig(root, rotate_bytes=4096) as one:
            one.hello("aaaaaaaa")
            for first in range(1, 301, 50):
                one.steps("aaaaaaaa", first, first + 49)
                await one.quiet()
            await one.until(lambda: sum(name.endswith(".zst") for name in os.listdir(one.run_logs().path)) >= 3)
            assert one.seqs() == [f"aaaaaaaa-{number}" for number in range(1, 301)]

    asyncio.run(main())


def test_a_final_file_is_not_active_any_more(root: Path) -> None:
    async def main() -> None:
        async with rig(root, final_after_s=600) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 10)
            one.seal("aaaaaaaa", 10)
            await one.quiet()
            await one.writer._upkeep._finalise()
            assert one.state.current_files()
            one.now += 601 * 10**9
            await one.writer._upkeep._finalise()
            assert not one.state.current_files()

    asyncio.run(main())


def test_a_last_file_that_cannot_be_renamed_now_is_rotated_and_compressed_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_WORTH_COMPRESSING_BYTES", 100)
    monkeypatch.setattr(upkeep, "_EVERY_S", 0.02)
    fs = FakeFileSystem()

    async def main() -> None:
        async with rig(root, fs) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 20)
            one.seal("aaaaaaaa", 20)
            await one.quiet()
            for output in one.writer.forget_idle(-1):
                await output.rest()
            fs.fail("open", errno.EMFILE, ".jsonl", times=2)
            one.now += 700 * 10**9
            await one.until(lambda: any(name.endswith(".zst") for name in os.listdir(one.run_logs().path)))
            await one.until(lambda: not one.writer.held())

    asyncio.run(main())


def test_what_is_pruned_is_written_down_and_verify_says_so(root: Path) -> None:
    async def main() -> None:
        async with rig(root, rotate_bytes=4096, compress="none") as one:
            one.hello("aaaaaaaa")
            for first in range(1, 301, 50):
                one.steps("aaaaaaaa", first, first + 49)
                await one.quiet()
            one.seal("aaaaaaaa", 300)
            await one.quiet()
            one.writer.config = replace(one.config, keep_files=2)
            assert await one.writer.prune()
            found = verify_run(one.run_logs())
            assert found["complete"], json.dumps(found)
            assert found["producers"][0]["pruned"] + found["producers"][0]["written"] == 300

    asyncio.run(main())


def test_a_run_whose_every_file_was_pruned_is_still_known(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 50)
            one.seal("aaaaaaaa", 50)
            await one.quiet()
            one.now = 2**62
            await one.writer._upkeep._finalise()
            one.writer.config = replace(one.config, keep_age_s=1)
            assert await one.writer.prune()
            assert os.listdir(one.run_logs().path) == ["node7.pruned"]
            found = verify_run(one.run_logs())
            assert (found["complete"], found["producers"][0]["pruned"]) == (True, 50)

    asyncio.run(main())


def test_a_run_that_was_removed_soon_after_its_end_stays_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_WORTH_COMPRESSING_BYTES", 100)
    monkeypatch.setattr(upkeep, "_EVERY_S", 0.02)

    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 20)
            one.seal("aaaaaaaa", 20)
            await one.quiet()
            for output in one.writer.forget_idle(-1):
                await output.rest()
            shutil.rmtree(one.run_logs().path)
            one.now += 700 * 10**9
            async with asyncio.timeout(30):
                while await one.state.call(one.state.current_files):  # noqa: ASYNC110 - it is in the database
                    await asyncio.sleep(0.01)
            await one.until(lambda: not any(output.lock.locked() for output in one.writer._outputs.values()))
            assert not one.run_logs().path.exists()

    asyncio.run(main())


def test_a_file_whose_renaming_was_cut_short_is_not_compressed_before_that_is_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotated(one: Rig) -> list[str]:
        return [name for name in os.listdir(one.run_logs().path) if name.endswith("-1.jsonl")]

    async def die_between_name_and_note() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(CurrentFile, "leave", never)
            async with rig(root, rotate_bytes=4096) as one:
                one.hello("aaaaaaaa")
                one.steps("aaaaaaaa", 1, 60)
                await one.until(lambda: one.run_logs().path.exists() and rotated(one))

    async def go_on() -> None:
        async with rig(root, rotate_bytes=4096) as one:
            await one.writer._upkeep._scan()
            await one.until(lambda: not one.writer._upkeep._to_compress)
            assert rotated(one)
            one.steps("aaaaaaaa", 61, 70)
            await one.quiet()
            await one.until(lambda: not rotated(one))
            assert one.seqs() == [f"aaaaaaaa-{number}" for number in range(1, 71)]

    asyncio.run(die_between_name_and_note())
    asyncio.run(go_on())


def test_a_rotation_that_was_cut_short_is_finished_though_the_run_says_no_more(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def come_to(one: Rig, column: str) -> None:
        key = Key("exp", "run1", "jsonl")
        async with asyncio.timeout(30):
            while not getattr(await one.state.call(one.state.checkpoint, key), column, None):  # noqa: ASYNC110 - in the database
                await asyncio.sleep(0.01)

    async def die_in_a_rotation() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(CurrentFile, "finish_rotation", never)
            async with rig(root, rotate_bytes=4096) as one:
                one.hello("aaaaaaaa")
                one.steps("aaaaaaaa", 1, 60)
                one.seal("aaaaaaaa", 60)
                await come_to(one, "rotating")

    async def go_on() -> None:
        monkeypatch.setattr(upkeep, "_EVERY_S", 0.02)
        async with rig(root, rotate_bytes=4096) as one:
            one.dead.add("aaaaaaaa")
            one.now += 700 * 10**9
            await come_to(one, "final")
            assert one.seqs() == [f"aaaaaaaa-{number}" for number in range(1, 61)] + ["agent-1"]

    asyncio.run(die_in_a_rotation())
    asyncio.run(go_on())


def test_a_rotation_that_fails_is_tried_again_though_the_run_says_no_more(root: Path) -> None:
    fs = FakeFileSystem()

    async def main() -> None:
        async with rig(root, fs, rotate_bytes=4096) as one:
            fs.fail("rename", errno.EIO, times=2)
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 60)
            await one.until(lambda: bool(one.writer.held()))
            await one.until(lambda: not one.writer.held())
            assert any("-1.jsonl" in name for name in os.listdir(one.run_logs().path))
            assert one.seqs() == [f"aaaaaaaa-{number}" for number in range(1, 61)]

    asyncio.run(main())
