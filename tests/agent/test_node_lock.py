"""One agent per node directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from logferry.spool import lock_holder
from logferry_agent import daemon, node_lock


def test_the_lock_is_held_though_a_full_disk_has_no_room_for_its_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    fd = node_lock.take(tmp_path / "agent.lock")
    child = os.fork()  # whoever holds a record lock does not see it
    if child == 0:
        os._exit(0 if lock_holder(tmp_path / "agent.lock") == os.getppid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    os.close(fd)


def test_a_lock_that_cannot_be_made_is_said_in_a_line(
    node_dir: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(node_lock, "take", refused)
    assert daemon.agent([]) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "agent.lock" in said
