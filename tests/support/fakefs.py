"""A file system double on real files: any call fails when told to, and a crash loses, tears and reorders.

What it models, for files and directories that are changed through it:

* Bytes are safe after a successful `fsync` or `fdatasync` of their file, names after a `sync_directory` of their
  directory, a new directory's own name after one of its parent. Syncing a file says nothing of its name.
* A failed sync leaves the pages clean: some were written, the others never will be, although they can still be read
  until `drop_clean_pages`, and the next sync succeeds. As Linux does it.
* `crash` puts onto the disk what a power failure could leave (see disk.py); `die` is the death of the process only.
* A full disk takes a part of a write first; a write may be short.

It does not model: times and modes of files, hard links, moves between directories, a call that takes effect and fails
all the same, rotten bytes, and whatever goes past it (SQLite, mapped memory).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from logferry_agent.fs import FileSystem
from support.disk import Directory, FileBytes, Names, Node, put

# Instead of an errno: the write takes a part and says so.
SHORT = -1
ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE)


class Crash(BaseException):
    """The process "died" here; not an Exception, so that nothing handles it by accident."""


@dataclass
class _Failure:
    operation: str
    number: int
    path: str
    times: int
    after: int


class FakeFileSystem(FileSystem):
    def __init__(self, chance: random.Random | None = None) -> None:
        self.chance = chance or random.Random(0)
        self.short_writes = False
        self.crash_at: int | None = None
        self.calls: list[str] = []
        self._failures: list[_Failure] = []
        self._files: dict[tuple[int, int], FileBytes] = {}
        self._open: dict[int, Path] = {}
        self._names = Names()
        self._kept = 0

    # what is to happen

    def fail(self, operation: str, number: int = errno.EIO, path: str = "", times: int = 1, after: int = 0) -> None:
        """Let `times` calls of `operation` ("" for any) on paths with `path` in them fail, once `after` went well."""
        self._failures.append(_Failure(operation, number, path, times, after))

    def heal(self) -> None:
        self._failures.clear()

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let everything work for a look from outside, which is not counted among the calls."""
        failures, self._failures, at, self.crash_at, calls = self._failures, [], self.crash_at, None, len(self.calls)
        yield
        self._failures, self.crash_at = failures, at
        del self.calls[calls:]

    def drop_clean_pages(self) -> None:
        """Read from the device again what is not dirty, as a kernel in need of memory makes it."""
        for file in self._files.values():
            if file.is_lost and file.at.exists():
                data = file.reread()
                with file.at.open("r+b") as real:  # the inode stays
                    real.write(data)

    def die(self) -> None:
        """End the process: its descriptors go, what it wrote stays, and the next one may use this object."""
        self.crash_at = None
        self.heal()
        for fd in list(self._open):
            self._open.pop(fd)
            os.close(fd)

    def crash(self) -> None:
        """Leave on the disk what a power failure could leave; this object is of no use afterwards."""
        self.die()
        put(self._names.left(self.chance), self._files.values(), self.chance)
        self._remove_kept()

    def _remove_kept(self) -> None:
        for file in self._files.values():
            if file.at.name.startswith(".unlinked-"):
                file.at.unlink(missing_ok=True)

    # the door

    def _enter(self, operation: str, path: Path) -> int:
        """Fail if that is due; return an errno that the caller brings about in a way of its own, or 0."""
        self.calls.append(operation)
        if self.crash_at is not None and len(self.calls) >= self.crash_at:
            raise Crash(operation)
        for failure in self._failures:
            if failure.operation not in {operation, ""} or failure.path not in str(path) or not failure.times:
                continue
            if failure.after:
                failure.after -= 1
                continue
            failure.times -= 1
            is_write = operation in {"pwrite", "pwritev"}
            if is_write and failure.number in {SHORT, errno.ENOSPC, errno.EDQUOT}:
                return failure.number
            if failure.number != SHORT:
                raise OSError(failure.number, os.strerror(failure.number), str(path))
        return 0

    def _of(self, fd: int) -> FileBytes:
        return self._files[(found := os.fstat(fd)).st_dev, found.st_ino]

    def _at(self, path: Path) -> Node:
        if not os.path.lexists(path):
            return None
        if path.is_dir() or path.is_symlink():
            return Directory()
        found = path.lstat()
        key = (found.st_dev, found.st_ino)
        if key not in self._files:
            self._files[key] = FileBytes(path, path.read_bytes(), found.st_size)
        return self._files[key]

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        self._enter("open", path)
        new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        if flags & os.O_TRUNC and not new:
            raise NotImplementedError("no part of the agent truncates at opening")
        if flags & os.O_WRONLY:  # to look at what was written
            flags = flags & ~os.O_WRONLY | os.O_RDWR
        fd = super().open(path, flags, mode)
        if new:
            found = os.fstat(fd)
            made = self._files[found.st_dev, found.st_ino] = FileBytes(path, b"")
            self._names.change(path.parent, {path: None}, {path: made})
        else:
            self._at(path)
        self._open[fd] = path
        return fd

    def close(self, fd: int) -> None:
        path = self._open.pop(fd, None)
        super().close(fd)  # the descriptor is gone even when this fails
        if path is not None:
            self._enter("close", path)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._enter("pread", self._open[fd])
        return super().pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return self._write("pwrite", fd, bytes(data), offset)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        return self._write("pwritev", fd, b"".join(buffers), offset)

    def _write(self, operation: str, fd: int, data: bytes, offset: int) -> int:
        number = self._enter(operation, self._open[fd])
        if number in {errno.ENOSPC, errno.EDQUOT}:
            self._put(fd, data[: len(data) // 3], offset)
            raise OSError(number, os.strerror(number), str(self._open[fd]))
        if (self.short_writes or number == SHORT) and len(data) > 1:
            data = data[: self.chance.randrange(1, len(data))]
        return self._put(fd, data, offset)

    def _put(self, fd: int, data: bytes, offset: int) -> int:
        before = os.fstat(fd).st_size
        written = os.pwrite(fd, data, offset)
        if data:
            self._of(fd).changed(fd, min(offset, max(before, 0)), offset + len(data))
        return written

    def truncate(self, fd: int, size: int) -> None:
        self._enter("truncate", self._open[fd])
        before = os.fstat(fd).st_size
        super().truncate(fd, size)
        self._of(fd).changed(fd, min(size, before), max(size, before))

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def _sync(self, operation: str, fd: int) -> None:
        file = self._of(fd)
        try:
            self._enter(operation, self._open[fd])
        except OSError:
            file.sync_failed(self.chance)
            raise
        file.synced()

    def sync_directory(self, path: Path) -> None:
        self._enter("sync_directory", path)
        self._names.synced(path)

    def fstat(self, fd: int) -> os.stat_result:
        self._enter("fstat", self._open[fd])
        return super().fstat(fd)

    def lstat(self, path: Path) -> os.stat_result:
        self._enter("lstat", path)
        return super().lstat(path)

    def rename(self, old: Path, new: Path) -> None:
        self._enter("rename", new)
        if old.parent != new.parent:
            raise NotImplementedError("no part of the agent moves a file to another directory")
        moved, replaced = self._at(old), self._at(new)
        if moved is not None:
            self._keep(new, replaced)
        super().rename(old, new)
        if isinstance(moved, FileBytes):
            moved.at = new
        self._names.change(new.parent, {old: moved, new: replaced}, {old: None, new: moved})

    def unlink(self, path: Path) -> None:
        self._enter("unlink", path)
        gone = self._at(path)
        self._keep(path, gone)
        super().unlink(path)
        self._names.change(path.parent, {path: gone}, {path: None})

    def _keep(self, path: Path, node: Node) -> None:
        """Keep a file that loses its name under another, for a power failure may bring it back."""
        if isinstance(node, FileBytes):
            self._kept += 1
            node.at = path.with_name(f".unlinked-{self._kept}")
            os.link(path, node.at)

    def rmdir(self, path: Path) -> None:
        self._enter("rmdir", path)
        super().rmdir(path)

    def utime(self, path: Path, times_ns: tuple[int, int]) -> None:
        self._enter("utime", path)
        super().utime(path, times_ns)

    def listdir(self, path: Path) -> list[str]:
        self._enter("listdir", path)
        return [name for name in super().listdir(path) if not name.startswith(".unlinked-")]

    def make_directories(self, path: Path, below: Path, mode: int = 0o755) -> list[Path]:
        self._enter("make_directories", path)
        made = super().make_directories(path, below, mode)
        for one in made:
            self._names.change(one.parent, {one: None}, {one: Directory()})
        return made

    def free_bytes(self, path: Path) -> tuple[int, int]:
        self._enter("free_bytes", path)
        return super().free_bytes(path)
