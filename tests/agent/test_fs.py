"""The door to the file system has a stand-in for each call that a platform lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from logferry_agent import fs as door
from logferry_agent.fs import FileSystem, write_all


@pytest.mark.parametrize("lacks", [False, True])
def test_a_sync_may_be_begun_ahead_and_where_there_is_no_such_call_it_is_not(
    root: Path, *, lacks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks:
        monkeypatch.setattr(door, "_sync_file_range", door._nothing)
    fs, path = FileSystem(), root / "file"
    fd = fs.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert write_all(fs, fd, [b"one", b"two"], 0) == 6
        fs.begin_sync(fd, 0, 6)
        fs.fdatasync(fd)
    finally:
        fs.close(fd)
    assert path.read_bytes() == b"onetwo"
