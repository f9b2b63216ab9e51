"""The agent's only door to the file system.

Everything that the agent makes durable goes through one `FileSystem` object, so that a test can return ENOSPC, tear
a write, drop what was not synced or fail an fsync, without patching the interpreter. Each method is one system call,
or its stand-in where a platform lacks it, and raises `OSError` as that call does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# The kernel takes at most so many buffers in one call (UIO_MAXIOV).
_MAX_BUFFERS = 1024
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_SYNC_FILE_RANGE_WRITE = 2


def _nothing(*_: int) -> None:
    pass


_sync_file_range: Callable[[int, int, int, int], object] = _nothing
# Some Pythons are built without ctypes, and some systems have no such call: then a sync waits a little longer.
with contextlib.suppress(ImportError, OSError, AttributeError):
    import ctypes

    _prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    _sync_file_range = _prototype(("sync_file_range", ctypes.CDLL(None)))


class Problem(NamedTuple):
    """Something that is held back until the file system allows it; `since_ns` is the first failure."""

    what: str
    path: str
    error: str
    since_ns: int


def said(error: Exception) -> str:
    """Return what an error says, in the words that people know."""
    return (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"


def allow_most_files() -> None:
    """Let this process have as many files open as its user may allow it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class FileSystem:
    """The real file system; tests subclass it."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        return os.open(path, flags | _FLAGS, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def begin_sync(self, fd: int, offset: int, size: int) -> None:
        """Have the device begin to write these bytes, so that a sync waits less; that alone makes nothing durable."""
        _sync_file_range(fd, offset, size, _SYNC_FILE_RANGE_WRITE)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        # macOS has no fdatasync
        getattr(os, "fdatasync", os.fsync)(fd)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def lstat(self, path: Path) -> os.stat_result:
        return os.lstat(path)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)

    def utime(self, path: Path, times_ns: tuple[int, int] | None) -> None:
        """Set access and modification time; None: to the file system's own time, on a network one its server's."""
        if times_ns is None:
            os.utime(path, follow_symlinks=False)
        else:
            os.utime(path, ns=times_ns, follow_symlinks=False)

    def listdir(self, path: Path) -> list[str]:
        return os.listdir(path)

    def make_directories(self, path: Path, below: Path, mode: int = 0o755) -> list[Path]:
        """Create the missing directories of `path` that lie below `below`; return those that were made.

        Raises:
            OSError: one of them is a link (ELOOP) or cannot be made.

        """
        made = []
        for part in reversed([path, *path.parents]):
            if part == below or below not in part.parents:
                continue
            try:
                os.mkdir(part, mode)
                made.append(part)
            except FileExistsError:
                if stat.S_ISLNK(os.lstat(part).st_mode):
                    raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(part)) from None
        return made

    def free_bytes(self, path: Path) -> tuple[int, int]:
        """Return (available to us, size) of the file system that holds `path`, in bytes."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def write_all(fs: FileSystem, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    """Write all of `buffers` at `offset`, completing short writes; return how many bytes that was.

    Raises:
        OSError: as the call that failed; what was written before stays written.

    """
    start, left = offset, list(buffers)
    while left:
        written = fs.pwritev(fd, left[:_MAX_BUFFERS], offset)
        if not written and any(map(len, left[:_MAX_BUFFERS])):
            raise OSError(errno.EIO, "a write returned 0 bytes")
        offset += written
        left = _after(left, written)
    return offset - start


def _after(buffers: list[bytes | memoryview], written: int) -> list[bytes | memoryview]:
    """Return what of `buffers` lies behind their first `written` bytes."""
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []
