"""One agent per node directory: a record lock on `agent.lock`, which falls free with the process and holds its pid.

Taken before the socket is bound, because a second bind would steal the address from the first agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from logferry import spool


class AlreadyRunningError(Exception):
    """Another agent serves this node directory; the message has its pid."""


def take(path: Path) -> int:
    """Return the descriptor that holds the lock; it must stay open as long as the agent runs.

    Raises:
        AlreadyRunningError: another agent holds it.
        OSError: the file cannot be made.

    """
    pid = spool.lock_holder(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AlreadyRunningError(
            f"an agent with pid {pid or spool.lock_holder(path)} serves {path.parent} already; "
            "stop it, or set LOGFERRY_NODE_DIR to another directory"
        ) from None
    with contextlib.suppress(OSError):  # for people to read only: on a full disk the lock holds without it
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
