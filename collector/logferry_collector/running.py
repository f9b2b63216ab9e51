"""Does a collector run here for a home and a store: a lock that falls free with its process, and a status file.

`HOME/agents/.<host>.collector-<store>.lock` is flocked by the running collector and holds its pid; `<store>` is a
checksum of the store's URL. `HOME/agents/<host>.collector.json` is one JSON object, replaced whole: `up`, `pid`,
`store`, `rows`, `rejects`, `waiting`, `watching`, `time_ns`, `held` (list of `what`, `path`, `error`,
`since_ns`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logferry.layout import Home, host_name, open_new, read_plain
from logferry_collector.store import shown

# Whoever asks whether a collector runs holds a shared lock for an instant; a start must outlast that.
_PATIENCE_S = 0.5
# Clusters mount Lustre and NFS without locks too. Several collectors at once are safe there, and only work twice.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


class AlreadyRunningError(Exception):
    """Another collector on this host serves the same home and store; the message has its pid."""


def _lock_path(home: Home, url: str) -> Path:
    return home.agents / f".{host_name()}.collector-{zlib.crc32(url.encode(errors='replace')):08x}.lock"


@contextmanager
def sole_collector(home: Home, url: str) -> Iterator[None]:
    """Hold the lock of the one collector.

    Raises:
        AlreadyRunningError: it is held.
        OSError: the home cannot be written.

    """
    home.agents.mkdir(parents=True, exist_ok=True)
    path = _lock_path(home, url)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if not _locked_where_possible(fd):
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise AlreadyRunningError(f"a collector (pid {pid}) already serves {home.path} and store {url}")
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def runs(home: Home, url: str) -> bool:
    """Say whether a collector runs on this host for a home and a store."""
    try:
        fd = os.open(_lock_path(home, url), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(fd, fcntl.LOCK_SH, 0)
    except OSError:
        return False
    finally:
        os.close(fd)


def held(home: Home, url: str) -> str:
    """Return why the collector that runs for a home and a store takes in nothing now, or the empty string."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        status = json.loads(read_plain(status_path(home)))
        if status["store"] == shown(url) and status["held"]:
            return f"the collector is held back by the store {shown(url)}: {status['held'][0]['error']}"
    return ""


def _locked_where_possible(fd: int) -> bool:
    try:
        return _locked(fd, fcntl.LOCK_EX, _PATIENCE_S)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True


def _locked(fd: int, kind: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def status_path(home: Home) -> Path:
    return home.agents / f"{host_name()}.collector.json"


def write_status(home: Home, status: dict[str, Any]) -> None:
    """Replace the status file; a home that cannot be written has the log to say so."""
    path, data = status_path(home), f"{json.dumps(status)}\n".encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(open_new(temporary), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            _overwrite(path, data)


def _overwrite(path: Path, data: bytes) -> None:
    """Write over a file: where the disk is full, that has room."""
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
