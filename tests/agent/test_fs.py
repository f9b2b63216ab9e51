"""The door to the file system has a stand-in for each call that a platform lacks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logferry_agent.fs import FileSystem, write_all

_pwritev = os.pwritev


def _without_flags(number: int) -> Callable[..., int]:
    def pwritev(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(number, os.strerror(number))
        return _pwritev(fd, buffers, offset)

    return pwritev


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes that files had when they were synced by a call for that only."""
    found: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: found.append(os.fstat(fd).st_size))
    return found


def _written(path: Path) -> bytes:
    fs = FileSystem()
    fd = fs.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert write_all(fs, fd, [b"one", b"two"], 0, sync=True) == 6
    finally:
        fs.close(fd)
    return path.read_bytes()


def test_one_call_writes_and_syncs_where_there_is_such_a_call(root: Path, synced: list[int]) -> None:
    assert _written(root / "file") == b"onetwo"
    assert synced == []


@pytest.mark.parametrize("lacks", ["its flag", "the kernel's part"])
def test_where_there_is_none_a_sync_follows(
    root: Path, synced: list[int], lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks == "its flag":
        monkeypatch.delattr(os, "RWF_DSYNC")
    else:
        monkeypatch.setattr(os, "pwritev", _without_flags(errno.EOPNOTSUPP))
    assert _written(root / "file") == b"onetwo"
    assert synced == [6]


def test_an_error_of_the_disk_is_no_lack(root: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", _without_flags(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        _written(root / "file")
    assert synced == []
