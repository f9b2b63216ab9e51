"""A file system double on real files that fails when told to, and whose crash loses or tears what was not synced.

What it models, for files and directories that were changed through it: a file's bytes are safe after a successful
`fsync` or `fdatasync` of it; a failed sync drops them for good, although they can still be read (as Linux does it);
a name that appeared, moved or went is safe after `sync_directory` of its directory. `crash` puts onto the disk what a
power failure could leave: of the bytes and names that were not safe, some.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from logferry_agent.fs import FileSystem


class Crash(BaseException):
    """The process "died" here; not an Exception, so that nothing handles it by accident."""


@dataclass
class _Inode:
    safe: bytes = b""
    changes: list[tuple[int, bytes] | int] = field(default_factory=list)  # writes, or sizes that it was cut to


@dataclass
class _Failure:
    operation: str
    number: int
    path: str
    times: int


class FakeFileSystem(FileSystem):
    def __init__(self, chance: random.Random | None = None) -> None:
        self.short_writes = False
        self.crash_at: int | None = None
        self.calls: list[str] = []
        self._chance = chance or random.Random(0)
        self._failures: list[_Failure] = []
        self._inodes: dict[tuple[int, int], _Inode] = {}
        self._paths: dict[int, Path] = {}
        self._touched: set[Path] = set()
        # per directory, in order: what each call since its last sync changed, as (name, inode before the call)
        self._renamed: dict[Path, list[list[tuple[Path, _Inode | None]]]] = {}

    def fail(self, operation: str, number: int = errno.EIO, path: str = "", times: int = 1) -> None:
        """Let the next `times` calls of `operation` on paths that contain `path` fail with errno `number`."""
        self._failures.append(_Failure(operation, number, path, times))

    def heal(self) -> None:
        self._failures.clear()

    def _enter(self, operation: str, path: Path) -> None:
        self.calls.append(operation)
        if self.crash_at is not None and len(self.calls) >= self.crash_at:
            raise Crash(operation)
        for failure in self._failures:
            if failure.operation == operation and failure.path in str(path) and failure.times > 0:
                failure.times -= 1
                raise OSError(failure.number, os.strerror(failure.number), str(path))

    def _inode(self, found: os.stat_result, safe: bytes) -> _Inode:
        return self._inodes.setdefault((found.st_dev, found.st_ino), _Inode(safe))

    def _of(self, fd: int) -> _Inode:
        return self._inodes[(found := os.fstat(fd)).st_dev, found.st_ino]

    def _at(self, path: Path) -> _Inode | None:
        if not os.path.lexists(path) or path.is_dir():
            return None
        return self._inode(path.lstat(), path.read_bytes())

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        self._enter("open", path)
        new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        if new:
            self._renamed.setdefault(path.parent, []).append([(path, None)])
        elif flags & os.O_TRUNC:
            raise NotImplementedError("no part of the agent truncates at opening")
        fd = super().open(path, flags, mode)
        if new:  # inode numbers are used again
            self._inodes.pop(((found := os.fstat(fd)).st_dev, found.st_ino), None)
        if not os.path.isdir(path):
            self._inode(os.fstat(fd), path.read_bytes())
        self._paths[fd] = path
        self._touched.add(path)
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._enter("pread", self._paths[fd])
        return super().pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return self._write("pwrite", fd, bytes(data), offset)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        return self._write("pwritev", fd, b"".join(buffers), offset)

    def _write(self, operation: str, fd: int, data: bytes, offset: int) -> int:
        try:
            self._enter(operation, self._paths[fd])
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._put(fd, data[: len(data) // 3], offset)  # a full disk takes a part first
            raise
        if self.short_writes and len(data) > 1:
            data = data[: self._chance.randrange(1, len(data))]
        return self._put(fd, data, offset)

    def _put(self, fd: int, data: bytes, offset: int) -> int:
        if data:
            self._of(fd).changes.append((offset, data))
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._enter("truncate", self._paths[fd])
        self._of(fd).changes.append(size)
        super().truncate(fd, size)

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def _sync(self, operation: str, fd: int) -> None:
        inode = self._of(fd)
        try:
            self._enter(operation, self._paths[fd])
        except OSError:
            inode.changes.clear()
            raise
        inode.safe = _applied(inode.safe, inode.changes)
        inode.changes.clear()

    def sync_directory(self, path: Path) -> None:
        self._enter("sync_directory", path)
        self._renamed.pop(path, None)

    def rename(self, old: Path, new: Path) -> None:
        self._enter("rename", new)
        self._touched |= {old, new}
        self._renamed.setdefault(new.parent, []).append([(old, self._at(old)), (new, self._at(new))])
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._enter("unlink", path)
        self._touched.add(path)
        self._renamed.setdefault(path.parent, []).append([(path, self._at(path))])
        super().unlink(path)

    def listdir(self, path: Path) -> list[str]:
        self._enter("listdir", path)
        return super().listdir(path)

    def crash(self) -> None:
        """Leave on the disk what a power failure could leave; this object is of no use afterwards."""
        for fd in list(self._paths):
            self.close(fd)
        names = {path: self._at(path) for path in self._known_files()}
        for changes in self._renamed.values():
            for change in reversed(changes[self._chance.randint(0, len(changes)) :]):
                names.update(change)
        images = {path: inode and self._image(inode) for path, inode in names.items()}
        kept = self._set_aside([*names])  # a file keeps its inode number, whatever its name is afterwards
        for path, image in images.items():
            inode = names[path]
            path.unlink(missing_ok=True)
            if inode is not None and image is not None:
                if id(inode) in kept:
                    os.link(kept[id(inode)], path)
                path.write_bytes(image)
        for aside in kept.values():
            aside.unlink()

    def _set_aside(self, paths: list[Path]) -> dict[int, Path]:
        kept: dict[int, Path] = {}
        for path in paths:
            inode = self._at(path)
            if inode is not None and id(inode) not in kept:
                kept[id(inode)] = path.with_name(f".crash-{len(kept)}")
                os.link(path, kept[id(inode)])
        return kept

    def _known_files(self) -> list[Path]:
        directories = {path.parent for path in self._touched}
        found = [path for directory in directories if directory.is_dir() for path in directory.iterdir()]
        return [path for path in found if ((at := path.lstat()).st_dev, at.st_ino) in self._inodes]

    def _image(self, inode: _Inode) -> bytes:
        """Return what is left of a file: a prefix of its unsynced changes, and parts of later ones."""
        kept = self._chance.randint(0, len(inode.changes))
        image = _applied(inode.safe, inode.changes[:kept])
        for change in inode.changes[kept:]:  # the device may do later writes first
            if isinstance(change, tuple) and self._chance.random() < 0.3:
                cut = self._chance.randint(0, len(change[1]))
                image = _applied(image, [(change[0], change[1][:cut])])
        return image


def _applied(image: bytes, changes: Sequence[tuple[int, bytes] | int]) -> bytes:
    out = bytearray(image)
    for change in changes:
        if isinstance(change, int):
            out[change:] = bytes(max(0, change - len(out)))
            continue
        offset, data = change
        out.extend(bytes(max(0, offset - len(out))))  # a hole reads as zeros
        out[offset : offset + len(data)] = data
    return bytes(out)
