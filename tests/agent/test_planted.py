"""Links and pipes that somebody put where files of ours are to be: nothing is written or read through them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from logferry import results
from logferry_agent.compression import compress
from logferry_agent.follow import RunTail
from logferry_agent.fs import FileSystem
from logferry_agent.logset import RunLogs
from logferry_agent.rotation import rotated_name
from logferry_agent.verify import verify_run
from support.writerrig import START_NS, Rig, rig

SECRET = b"what another program keeps\n"
Plant = Callable[[Path], None]


@pytest.fixture
def secret(root: Path) -> Path:
    path = root / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture(params=["symbolic", "hard"])
def plant(request: pytest.FixtureRequest, secret: Path) -> Plant:
    def planted(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(secret) if request.param == "symbolic" else path.hardlink_to(secret)

    return planted


async def lived(one: Rig) -> None:
    """Write enough for several rotations, compress and prune."""
    one.hello("aaaaaaaa", owner=True)
    for first in range(1, 301, 50):
        one.steps("aaaaaaaa", first, first + 49)
        await one.quiet()
    one.seal("aaaaaaaa", 300)
    await one.quiet()
    await one.until(lambda: all(path.is_symlink() for path in _uncompressed(one)) or one.config.compress == "none")
    await one.writer.prune()


def _uncompressed(one: Rig) -> list[Path]:
    return list(one.run_logs().path.glob("node7.2*-?.jsonl"))


def test_a_link_in_place_of_a_running_log_leads_nowhere(root: Path, secret: Path, plant: Plant) -> None:
    async def main() -> None:
        async with rig(root, text=True, rotate_bytes=4096, final_after_s=0, keep_files=3) as one:
            directory = one.run_logs().path
            rotated = [rotated_name("node7.jsonl", START_NS, number) for number in range(1, 9)]
            names = ["node7.jsonl", "node7.log", "node7~2.log", rotated[1], f"{rotated[3]}.zst"]
            for name in [*names, *(f".{name.removesuffix('.jsonl')}.{os.getpid()}.tmp" for name in rotated)]:
                plant(directory / name)
            await lived(one)
            (producer,) = verify_run(one.run_logs())["producers"]
            assert (producer["missing"], producer["repeated"], producer["emitted"]) == (0, 0, 300)

    asyncio.run(main())
    assert secret.read_bytes() == SECRET
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_what_is_written_down_of_a_pruned_file_goes_through_no_link(root: Path, secret: Path, plant: Plant) -> None:
    async def main() -> None:
        async with rig(root, rotate_bytes=4096, compress="none", final_after_s=0, keep_files=1) as one:
            plant(one.run_logs().path / "node7.pruned")
            await lived(one)
            assert {problem.what for problem in one.writer.held()} == {"retention"}
            (one.run_logs().path / "node7.pruned").unlink()
            await one.writer.prune()
            assert not one.writer.held()
            assert verify_run(one.run_logs())["complete"]

    asyncio.run(main())
    assert secret.read_bytes() == SECRET


def test_a_directory_of_results_that_is_a_link_is_said_and_nothing_is_written_there(root: Path) -> None:
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "package.json").write_bytes(SECRET)
    (root / "results").mkdir()
    (root / "results" / "exp").symlink_to(elsewhere)
    for write in (results.create, results.replace):
        with pytest.raises(OSError, match="is a symbolic link, which is not followed") as caught:
            write(root / "results" / "exp" / "package.json", {"owner": "aaaaaaaa"})
        assert caught.value.errno == errno.ELOOP
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [SECRET]


def test_a_link_in_place_of_a_result_or_of_its_temporary_file_is_replaced(
    root: Path, secret: Path, plant: Plant
) -> None:
    path = root / "results" / "exp" / "run.json"
    document = {"owner": "../../aaaa", "status": "RUNNING"}
    plant(path)
    plant(path.with_name(results._temporary(path, document)))
    assert results.create(path, document) is False
    results.replace(path, document)
    assert results.read(path) == document
    assert os.listdir(path.parent) == ["run.json"]
    assert secret.read_bytes() == SECRET


def test_a_killed_run_gets_its_result_although_a_link_has_the_name(root: Path, secret: Path) -> None:
    path = root / "home" / "results" / "exp" / "run1.json"
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)

    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa", owner=True)
            one.seal("aaaaaaaa", 0, end="vanished")
            await one.quiet()
            await one.until(lambda: not path.is_symlink())
            assert json.loads(path.read_bytes())["status"] == "KILLED"

    asyncio.run(main())
    assert secret.read_bytes() == SECRET


def test_a_compressed_file_is_as_private_as_the_one_that_it_replaces(root: Path) -> None:
    path = root / "node7.20250730T130000Z-1.jsonl"
    path.write_bytes(SECRET)
    path.chmod(0o640)
    assert stat.S_IMODE(compress(FileSystem(), path, "zstd").stat().st_mode) == 0o640


def test_a_pipe_among_the_running_logs_holds_nobody_up(root: Path) -> None:
    for name in ("node7.jsonl", "node8.20250730T130000Z-1.jsonl.zst", "node7.pruned"):
        os.mkfifo(root / name)
    (root / "node9.jsonl").mkdir()
    run = RunLogs("exp", "run1", root)
    for skipped in (False, True):
        tail = RunTail(run)
        files = tail.skip_to_end() if skipped else []
        assert [block for host in files for _, content in host for block in content if block] == []
        assert list(chain.from_iterable(tail.poll())) == []
        tail.close()
    assert not verify_run(run)["complete"]
