"""What cannot be read, renamed or removed now is left as it is, said once, shown, and tried again; others go on."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from logferry import spool
from logferry_agent.adoption import Adoption
from support.adopting import numbers, play, seals
from support.deadproducer import producer
from support.intake import Intake, until

A, B = "aaaaaaaa", "bbbbbbbb"
Mend = Callable[[], None]


@pytest.fixture
def spools(root: Path) -> Path:
    path = root / "node" / "spool"
    path.mkdir(parents=True)
    producer(path, A, 5)
    producer(path, B, 5)
    return path


async def looks(adoption: Adoption, count: int = 10) -> None:
    for _ in range(count):
        await adoption.look()
        await until(lambda: not adoption.under_way)


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in line for line in caplog.messages)


def directory_instead_of(path: Path) -> Mend:
    kept = path.with_name(f".{path.name}")
    path.rename(kept)
    path.mkdir()

    def mend() -> None:
        path.rmdir()
        kept.rename(path)

    return mend


@pytest.mark.parametrize("name", ["lock", "hello", "head", "00000001.seg"])
def test_a_spool_of_which_a_file_cannot_be_read_waits_until_it_can(
    root: Path, spools: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It was kept aside, or what could not be read taken for missing, and the spool removed."""
    mend = directory_instead_of(spools / A / name)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await looks(adoption)
        await until(lambda: seals(built))
        assert [seal["producer"] for seal in seals(built)] == [B]
        (held,) = adoption.held()
        assert (held.what, held.path, held.error) == ("spool", str(spools / A), os.strerror(errno.EISDIR))
        assert said(caplog, str(spools / A)) == 1
        mend()
        await adoption.finish()
        await until(lambda: len(seals(built)) == 2)
        assert numbers(built, A) == [1, 2, 3, 4, 5]
        assert seals(built)[1]["shed"] == {"DEBUG": 1}
        assert adoption.held() == []

    play(root, scene)


def test_a_segment_of_which_only_the_beginning_can_be_read_is_not_taken_for_missing(
    root: Path, spools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == spools / A / "00000001.seg":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read_bytes(path)

    async def scene(built: Intake, adoption: Adoption) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuse)
            await looks(adoption)
            assert [problem.error for problem in adoption.held()] == [os.strerror(errno.EIO)]
        await adoption.finish()
        assert numbers(built, A) == [1, 2, 3, 4, 5]

    play(root, scene)


def test_an_agent_that_may_open_no_more_files_takes_no_spool_for_damaged(
    root: Path, spools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_lock, tries = spool.take_lock, []

    def refuse(path: Path) -> int | None:
        if path.name == A:
            tries.append(path)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path / "lock"))
        return take_lock(path)

    async def scene(built: Intake, adoption: Adoption) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(spool, "take_lock", refuse)
            await looks(adoption)
            assert [problem.error for problem in adoption.held()] == [os.strerror(errno.EMFILE)]
            assert len(tries) == 3, "every two seconds is enough"
        await adoption.finish()
        assert numbers(built, A) == [1, 2, 3, 4, 5]
        assert not [name for name in os.listdir(spools) if name.startswith(".bad")]

    play(root, scene)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_an_agent_that_gets_no_more_memory_or_threads_takes_no_spool_for_damaged(
    root: Path, spools: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    read_head = spool.read_head

    def refuse(path: Path) -> spool.Head:
        if path.name == A:
            raise error
        return read_head(path)

    async def scene(built: Intake, adoption: Adoption) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(spool, "read_head", refuse)
            await looks(adoption)
            assert [problem.path for problem in adoption.held()] == [str(spools / A)]
        await adoption.finish()
        assert numbers(built, A) == [1, 2, 3, 4, 5]
        assert adoption.held() == []

    play(root, scene)


def test_a_damaged_spool_that_cannot_be_kept_aside_is_said_once_and_shown(
    root: Path, spools: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (spools / A / "hello").write_bytes(b"rubbish")
    (spools / f".bad-{A}" / "another").mkdir(parents=True)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await looks(adoption)
        (held,) = adoption.held()
        assert (held.what, held.path) == ("spool", str(spools / A))
        assert held.error.endswith(f"cannot be renamed to .bad-{A}: {os.strerror(errno.ENOTEMPTY)}")
        assert said(caplog, str(spools / A)) == 1
        await until(lambda: seals(built))
        assert numbers(built, B) == [1, 2, 3, 4, 5]
        (spools / f".bad-{A}").rename(root / "elsewhere")
        await looks(adoption)
        assert adoption.held() == []
        assert (spools / f".bad-{A}" / "00000001.seg").exists()

    play(root, scene)


def test_a_spool_that_cannot_be_removed_is_said_once_and_tried_again(
    root: Path, spools: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove = spool.remove

    def refuse(path: Path) -> None:
        if path.name == A:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        remove(path)

    async def scene(built: Intake, adoption: Adoption) -> None:
        await adoption.finish()
        await until(lambda: len(seals(built)) == 2)
        built.producers.take_settled([A, B])
        with monkeypatch.context() as patch:
            patch.setattr(spool, "remove", refuse)
            await looks(adoption)
            assert [(problem.path, problem.error) for problem in adoption.held()] == [
                (str(spools / A), os.strerror(errno.EROFS))
            ]
            assert said(caplog, str(spools / A)) == 1
            assert not (spools / B).exists()
        await looks(adoption)
        assert adoption.held() == []
        assert not (spools / A).exists()

    play(root, scene)


def test_a_directory_of_spools_that_cannot_be_listed_is_said_once_and_shown(
    root: Path, spools: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("logferry_agent.adoption.SCAN_S", 0.005)
    spools.rename(root / "elsewhere")

    async def scene(built: Intake, adoption: Adoption) -> None:
        task = asyncio.create_task(adoption.run())
        await until(lambda: adoption._looks > 10)
        assert [problem.path for problem in adoption.held()] == [str(spools)]
        assert said(caplog, str(spools)) == 1
        (root / "elsewhere").rename(spools)
        await until(lambda: len(seals(built)) == 2)
        assert adoption.held() == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(root, scene)


def test_a_removal_that_failed_half_way_is_finished_and_synced(
    root: Path, spools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt took it for gone: a power failure could have brought it back, to be read again."""
    (spools / A / "sub").mkdir()
    with pytest.raises(OSError, match="sub"):
        spool.remove(spools / A)
    (spools / f".gone-{A}" / "sub").rmdir()
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    spool.remove(spools / A)
    assert synced == [str(spools)]
    assert sorted(os.listdir(spools)) == [B]
