"""Where to go on reading a file: the cursor, and whether the file is still the one that the cursor is of.

A cursor is (device, inode, offset, marker): the marker is BLAKE2b-128 of the up to `MARKER_BYTES` before the offset
(of all bytes, for a file that is read whole whenever it changes).
A file that grew, is the same inode and still holds those bytes is read on from the offset. Everything else is read
anew: it became shorter (copy-truncate), it is another inode (replaced), the bytes before the offset changed (rewritten
in place, or truncated and grown past the offset again), or it changed without growing.

Limit: an edit in place more than `MARKER_BYTES` before the offset that is followed by an append, both between two
looks, goes unnoticed until the file changes again without growing. Reading it whole on each append is the price of
noticing, and grows with the square of the file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from logferry_collector.formats import Format
from logferry_collector.records import FileState, Stamp

MARKER_BYTES = 64 << 10
# Each becomes a document of some hundred bytes. A quoted cell of CSV, of at most 128 KiB, has fewer.
_MAX_LINES = 200_000
# Errors of opening that are no fault of the file's.
LACKING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class UnreadableError(Exception):
    """A path cannot be read as a file; the message says why."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes read from a file at its cursor. `anew`: from the beginning, and what was taken before is void."""

    stamp: Stamp
    start: int
    lines: int
    data: bytes
    anew: bool

    @property
    def at_end(self) -> bool:
        return self.start + len(self.data) >= self.stamp.size


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading, never following a link and never waiting for a FIFO.

    Raises:
        UnreadableError: it is something else, or may not be read.
        FileNotFoundError: it is gone.
        OSError: one of `LACKING`.

    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in LACKING:
            raise
        reason = not_regular(stat.S_IFLNK) if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
        raise UnreadableError(reason) from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableError(not_regular(mode))
        yield fd
    finally:
        os.close(fd)


def not_regular(mode: int) -> str:
    """Return what a thing is that is no regular file."""
    kinds = {
        stat.S_IFLNK: "a link, which is not followed",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a directory",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return f"is {kinds.get(stat.S_IFMT(mode), 'something else')}; only files are read"


def read_on(fd: int, form: Format, state: FileState | None) -> Slice:
    """Read what is new in a file: from the cursor where it holds, else from the beginning."""
    stamp = Stamp.of(os.fstat(fd))
    start, lines = 0, 0
    on = form.grows and state is not None and _still_the_same(fd, stamp, state)
    if on and state is not None:
        start, lines = state.offset, state.lines
    # No more than there was: a buffer for the most that may be read costs more than most files do.
    data = _read(fd, max(0, min(form.max_bytes, stamp.size - start)), start)
    if form.grows and data.count(b"\n") > _MAX_LINES:
        data = data[: -len(data.split(b"\n", _MAX_LINES)[-1])]
    return Slice(stamp, start, lines, data, anew=not on)


def _still_the_same(fd: int, stamp: Stamp, state: FileState) -> bool:
    if stamp[:2] != state.stamp[:2] or state.offset == 0:
        return False
    grew = stamp.size > state.stamp.size
    # The same stamp: somebody asks again because the file was written just when it was read.
    return (grew or stamp == state.stamp) and marker(fd, state.offset) == state.marker


def was_renamed(fd: int, part: Slice, state: FileState, form: Format) -> bool:
    """Say whether an open file is the one that `state` knows under a name that is gone now.

    A new file often gets the inode of one just removed, and may hold the same bytes; but it was written since, and a
    renamed one was not, except to grow.
    """
    if part.stamp[:2] != state.stamp[:2] or not 0 < state.offset <= part.stamp.size:
        return False
    if part.stamp.mtime_ns != state.stamp.mtime_ns and not (form.grows and part.stamp.size > state.offset):
        return False
    found = marker(fd, state.offset) if form.grows else digest(part.data[: state.offset])
    return found == state.marker


def marker(fd: int, offset: int) -> bytes:
    """Return the hash of the bytes before `offset`."""
    size = min(offset, MARKER_BYTES)
    return digest(_read(fd, size, offset - size))


def beginning(fd: int, size: int) -> bytes:
    """Return the first bytes of a file, where a header says what its lines mean."""
    return _read(fd, size, 0)


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def line_end(fd: int, offset: int) -> int | None:
    """Return the offset behind the next line feed at or after an offset; None where no more comes."""
    while data := os.pread(fd, 1 << 20, offset):
        found = data.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(data)
    return None


def _read(fd: int, size: int, offset: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the file."""
    data = os.pread(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    while sum(map(len, parts)) < size:
        more = os.pread(fd, size - sum(map(len, parts)), offset + sum(map(len, parts)))
        if not more:
            break
        parts.append(more)
    return b"".join(parts)
