"""Is the file system double faithful? It must lose all that a power failure may lose, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry_agent.fs import write_all
from support.depth import depth
from support.disk import PAGE
from support.fakefs import ERRNOS, SHORT, Crash, FakeFileSystem

NEW = os.O_RDWR | os.O_CREAT
OLD, LATER = b"o" * (4 * PAGE), b"n" * (4 * PAGE)


def outcomes(
    root: Path, act: Callable[[FakeFileSystem, Path], None], seeds: int = 60
) -> set[tuple[tuple[str, bytes], ...]]:
    """Return what is in the directory after power failures, each after the same calls."""
    found = set()
    for seed in range(seeds):
        directory = root / str(seed)
        directory.mkdir()
        fs = FakeFileSystem(random.Random(seed))
        act(fs, directory)
        fs.crash()
        found.add(shown(directory))
    return found


def shown(directory: Path) -> tuple[tuple[str, bytes], ...]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(directory)), path.read_bytes()) for path in files)


def written(fs: FakeFileSystem, path: Path, data: bytes, *, sync: bool, offset: int = 0) -> None:
    fd = fs.open(path, NEW)
    write_all(fs, fd, [data], offset)
    if sync:
        fs.fsync(fd)
        fs.sync_directory(path.parent)
    fs.close(fd)


def test_what_was_synced_is_there_after_every_power_failure(root: Path) -> None:
    assert outcomes(root, lambda fs, at: written(fs, at / "a", OLD, sync=True)) == {(("a", OLD),)}


def test_pages_that_were_not_synced_are_old_or_new_each_by_itself(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", OLD, sync=True)
        written(fs, at / "a", LATER, sync=False)

    found = {data[::PAGE] for ((_, data),) in outcomes(root, act)}
    assert {b"oooo", b"nnnn", b"onnn", b"nooo"} <= found


def test_a_file_may_be_longer_than_what_was_written_of_it(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", b"", sync=True)
        written(fs, at / "a", LATER, sync=False)

    found = {data[::PAGE] for ((_, data),) in outcomes(root, act)}
    assert {b"", b"nnnn", b"n\0nn"} <= found


def test_after_a_failed_sync_a_later_one_succeeds_and_the_bytes_are_not_there(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", OLD, sync=True)
        fs.fail("fsync")
        with contextlib.suppress(OSError):
            written(fs, at / "a", LATER, sync=True)
        written(fs, at / "a", b"", sync=True)
        assert (at / "a").read_bytes() == LATER

    found = {data for ((_, data),) in outcomes(root, act)}
    assert {OLD, LATER} <= found
    assert len(found) > 2


def test_what_a_failed_sync_lost_goes_from_sight_too_once_the_kernel_needs_memory(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", OLD, sync=True)
        fs.fail("fsync")
        with contextlib.suppress(OSError):
            written(fs, at / "a", LATER, sync=True)
        fs.drop_clean_pages()
        seen.append((at / "a").read_bytes())

    seen: list[bytes] = []
    left = outcomes(root, act)
    assert left == {(("a", data),) for data in seen}
    assert OLD in seen


def test_what_is_written_again_after_a_failed_sync_is_safe_after_the_next(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", OLD, sync=True)
        fs.fail("fsync")
        with contextlib.suppress(OSError):
            written(fs, at / "a", LATER, sync=True)
        written(fs, at / "a", LATER, sync=True)

    assert outcomes(root, act) == {(("a", LATER),)}


def test_names_that_were_not_synced_are_there_or_not_each_by_itself(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        for name in "ab":
            fd = fs.open(at / name, NEW)
            fs.fsync(fd)
            fs.close(fd)

    assert {tuple(name for name, _ in one) for one in outcomes(root, act)} == {(), ("a",), ("b",), ("a", "b")}


def test_a_rename_or_an_unlink_that_was_not_synced_may_not_have_been_and_the_inode_is_the_same(root: Path) -> None:
    inodes: list[int] = []

    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", OLD, sync=True)
        written(fs, at / "b", LATER, sync=True)
        inodes.append((at / "b").stat().st_ino)
        fs.rename(at / "a", at / "c")
        fs.unlink(at / "b")

    found = outcomes(root, act)
    assert found == {
        tuple(first + second)
        for first, second in itertools.product([[("a", OLD)], []], [[("b", LATER)], []])
        for second in [second + ([] if first else [("c", OLD)])]
    }
    back = [root / str(seed) / "b" for seed in range(60)]
    assert all(path.stat().st_ino == inodes[seed] for seed, path in enumerate(back) if path.exists())


def test_a_replaced_file_may_be_back(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        written(fs, at / "a", OLD, sync=True)
        written(fs, at / ".a", LATER, sync=True)
        fs.rename(at / ".a", at / "a")

    assert outcomes(root, act) == {((".a", LATER), ("a", OLD)), (("a", LATER),)}


def test_a_new_directory_that_was_not_synced_may_go_with_all_that_is_in_it(root: Path) -> None:
    def act(fs: FakeFileSystem, at: Path) -> None:
        fs.make_directories(at / "d", at)
        written(fs, at / "d" / "a", OLD, sync=True)

    assert outcomes(root, act) == {(), (("d/a", OLD),)}


@pytest.mark.parametrize("number", ERRNOS)
def test_any_call_fails_when_told_to_and_works_again(root: Path, number: int) -> None:
    fs = FakeFileSystem()
    fd = fs.open(root / "a", NEW)
    calls: dict[str, Callable[[], object]] = {
        "pwrite": lambda: fs.pwrite(fd, OLD, 0),
        "pwritev": lambda: fs.pwritev(fd, [OLD], 0),
        "pread": lambda: fs.pread(fd, 1, 0),
        "fsync": lambda: fs.fsync(fd),
        "fdatasync": lambda: fs.fdatasync(fd),
        "fstat": lambda: fs.fstat(fd),
        "lstat": lambda: fs.lstat(root / "a"),
        "truncate": lambda: fs.truncate(fd, 10),
        "utime": lambda: fs.utime(root / "a", (1, 1)),
        "rename": lambda: fs.rename(root / "a", root / "b"),
        "unlink": lambda: fs.unlink(root / "b"),
        "listdir": lambda: fs.listdir(root),
        "sync_directory": lambda: fs.sync_directory(root),
        "make_directories": lambda: fs.make_directories(root / "d", root),
        "rmdir": lambda: fs.rmdir(root / "d"),
        "free_bytes": lambda: fs.free_bytes(root),
        "open": lambda: fs.open(root / "b", NEW),
        "close": lambda: fs.close(fd),
    }
    for operation, call in calls.items():
        fs.fail(operation, number, times=2, after=0)
        before = shown(root)
        for _ in range(2 if operation != "close" else 1):
            with pytest.raises(OSError) as failed:
                call()
            assert failed.value.errno == number
        assert operation in {"pwrite", "pwritev"} or shown(root) == before
        fs.heal()
        if operation != "close":
            call()


def test_a_full_disk_takes_a_part_and_a_short_write_says_so(root: Path) -> None:
    fs = FakeFileSystem()
    fd = fs.open(root / "a", NEW)
    fs.fail("pwrite", SHORT)
    assert 0 < fs.pwrite(fd, OLD, 0) < len(OLD)
    fs.fail("pwrite", errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        fs.pwrite(fd, LATER, 0)
    assert (root / "a").read_bytes().startswith(b"n")
    assert fs.pwrite(fd, LATER, 0) == len(LATER)


def test_after_the_step_at_which_it_crashes_nothing_works_any_more(root: Path) -> None:
    fs = FakeFileSystem()
    fs.crash_at = 2
    fd = fs.open(root / "a", NEW)
    for _ in range(2):
        with pytest.raises(Crash):
            fs.pwrite(fd, OLD, 0)
    assert not (root / "a").read_bytes()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "cut", "rename", "unlink", "sync"]),
        st.sampled_from("abc"),
        st.sampled_from("abc"),
        st.integers(0, 300),
        st.integers(0, 300),
    ),
    max_size=25,
)


@given(STEPS, st.integers(0, 1 << 30))
@depth(20)
def test_whatever_was_done_with_all_synced_a_power_failure_changes_nothing(
    steps: list[tuple[str, str, str, int, int]], seed: int
) -> None:
    root = Path(tempfile.mkdtemp(prefix="lf-"))
    fs = FakeFileSystem(random.Random(seed))
    for what, name, other, offset, size in steps:
        with contextlib.suppress(FileNotFoundError):
            _do(fs, root, what, name, other, offset, size)
    for path in root.glob("[abc]"):
        fd = fs.open(path, os.O_RDWR)
        fs.fsync(fd)
        fs.close(fd)
    fs.sync_directory(root)
    before = shown(root)
    fs.crash()
    assert shown(root) == before
    assert all(path.name in "abc" for path in root.iterdir())
    shutil.rmtree(root)


def _do(fs: FakeFileSystem, root: Path, what: str, name: str, other: str, offset: int, size: int) -> None:
    if what == "write":
        written(fs, root / name, bytes([size % 256]) * size, sync=bool(size % 2), offset=offset)
    elif what == "cut":
        fd = fs.open(root / name, os.O_RDWR)
        fs.truncate(fd, size)
        fs.close(fd)
    elif what == "rename" and name != other:
        fs.rename(root / name, root / other)
    elif what == "unlink":
        fs.unlink(root / name)
    elif what == "sync":
        fs.sync_directory(root)
