"""One file of a running log: created, recognised, written at an offset, synced. Blocking; runs on an executor.

A file is ours while its inode is the one that the checkpoint names, it is not shorter than the checkpoint's offset, and
the bytes before that offset are the ones that were written. The device number is not asked, because it may change
when a machine boots. When a file is opened again, those bytes are enough, which end in a number that no other file has:
a home that was restored or copied has other inodes. Where there are none yet, it must begin with what is written next,
because a replay writes the same bytes. A file that is not ours is left alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from logferry.killpoints import passed
from logferry_agent.fs import FileSystem, write_all

TAIL_BYTES = 64


class Lost(Exception):  # noqa: N818 - an ordinary outcome with a name: a new file goes on
    """Somebody removed, truncated or replaced the file."""


class LogFile:
    """An open running log; has the methods of a file that aiofiles calls, and writes at `offset`."""

    def __init__(self, fs: FileSystem, path: Path, fd: int, unsynced: Sequence[Path] = ()) -> None:
        self.path = path
        self.offset = 0
        self.inode = fs.fstat(fd).st_ino
        self._fs = fs
        self._fd = fd
        self.is_unproven = False  # whether only what is written next can tell whether it is ours
        self._unsynced = unsynced  # directories in which a name of ours may be new

    def write(self, data: bytes, *, begin_sync: bool = False) -> int:
        """Write all of `data`, short writes completed; return how many bytes that is. `begin_sync`: a sync follows.

        Raises:
            Lost: somebody removed the file, or cut it: writing on would leave a hole in it.
            OSError: some or none of it was written, and `offset` is where it was.

        """
        found = self._fs.fstat(self._fd)
        if not found.st_nlink or found.st_size < self.offset:
            raise Lost
        if self.is_unproven and not data.startswith(self._fs.pread(self._fd, len(data), self.offset)):
            raise Lost
        self.is_unproven = False
        written = write_all(self._fs, self._fd, [data], self.offset)
        if begin_sync:
            self._fs.begin_sync(self._fd, self.offset, written)
        self.offset += written
        passed("log.written")
        return len(data)

    def sync(self) -> None:
        """Sync all of the file, and the directories on the way to it if it is new."""
        self._fs.fsync(self._fd)
        passed("log.synced")
        for directory in self._unsynced:
            self._fs.sync_directory(directory)
        self._unsynced = ()
        passed("log.durable")

    def check(self, offset: int, tail: bytes = b"", inode: int | None = None) -> None:
        """Look whether the file is still ours; one of another inode is by its tail.

        Raises:
            Lost: it is not.
            OSError: that cannot be known now.

        """
        try:
            named = self._fs.lstat(self.path)
        except FileNotFoundError as error:
            raise Lost from error
        if named.st_ino != self.inode or named.st_size < offset:
            raise Lost
        if inode not in {None, self.inode}:
            if not stat.S_ISREG(named.st_mode):
                raise Lost
            self.is_unproven = not tail
        if tail and self._fs.pread(self._fd, len(tail), offset - len(tail)) != tail:
            raise Lost

    def cut(self, size: int) -> None:
        """Cut off what lies beyond `size`, if anything does."""
        if self._fs.fstat(self._fd).st_size > size:
            self._fs.truncate(self._fd, size)

    def close(self) -> None:
        self._fs.close(self._fd)


def create(fs: FileSystem, path: Path, below: Path) -> LogFile | None:
    """Create a file, its directories below `below` included; None if the name is taken.

    Raises:
        OSError: it cannot be created; ELOOP where a directory of ours is a link.

    """
    fs.make_directories(path.parent, below)
    try:
        fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return None
    return LogFile(fs, path, fd, way_to(path, below))


def way_to(path: Path, below: Path) -> list[Path]:
    """Return the directories in which a name that leads to a new file may be new: another output may have made it."""
    return [one for one in path.parents if one == below or below in one.parents]


def reopen(fs: FileSystem, path: Path, below: Path, inode: int, offset: int, tail: bytes) -> LogFile:
    """Open a file of ours again. While no checkpoint covers a byte of it, nobody has synced the way to it.

    Raises:
        Lost: it is gone, or another one.
        OSError: that cannot be known now.

    """
    try:
        fd = fs.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        if _is_absent(fs, path, inode, error):
            raise Lost from error
        raise
    file = LogFile(fs, path, fd, () if offset else way_to(path, below))
    try:
        file.check(offset, tail, inode)
        file.offset = offset
    except BaseException:
        file.close()
        raise
    return file


def rename(fs: FileSystem, old: Path, new: Path, inode: int, offset: int, tail: bytes) -> bool:
    """Rename our file unless `new` is taken by another; return whether it has the new name now. Can be repeated.

    `inode`, `offset` and `tail` tell which file is ours.

    Raises:
        OSError: it cannot be done now.

    """
    ours = (inode, offset, tail)
    if not _is_ours(fs, new, *ours):
        if _inode(fs, new) is not None or not _is_ours(fs, old, *ours):
            return False
        fs.rename(old, new)
        passed("rotate.renamed")
    fs.sync_directory(new.parent)
    passed("rotate.synced")
    return True


def _is_absent(fs: FileSystem, path: Path, inode: int, error: OSError) -> bool:
    """Say whether an open failed because something else, or nothing, has the name."""
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return True
    try:
        found = fs.lstat(path)
    except OSError:
        return False
    return found.st_ino != inode or not stat.S_ISREG(found.st_mode)


def _is_ours(fs: FileSystem, path: Path, inode: int, offset: int, tail: bytes) -> bool:
    if _inode(fs, path) == inode:
        return True
    try:
        reopen(fs, path, path.parent, inode, offset, tail).close()
    except Lost:
        return False
    return True


def _inode(fs: FileSystem, path: Path) -> int | None:
    try:
        return fs.lstat(path).st_ino
    except FileNotFoundError:
        return None
