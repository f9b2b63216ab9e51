"""The content of one file of a running log, packed or not, in blocks of whole lines."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from logferry_agent.packed import unpacked
from logferry_agent.rotation import COMPRESSED

# Small enough to stay in the processor's cache from reading to searching.
_BLOCK_BYTES = 64 << 10
_PACKED = frozenset(COMPRESSED.values())
# An event is at most 1 MiB packed; as JSON each of its bytes may be six. What is longer is no line of ours.
MAX_LINE_BYTES = 16 << 20
# How a file says that it cannot be read, or not to its end.
UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)


def blocks(path: Path, size: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the file's content in pieces of whole lines; a last line without its line feed is not there yet.

    Raises:
        UNREADABLE: it cannot be read, or not to its end; what could be was given before. ELOOP where it is a link.

    """
    rest: list[bytes] = []
    for data in _pieces(path, size):
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, memoryview(data)[:end]])
            rest.clear()
        rest.append(data[end:])
        if sum(map(len, rest)) > MAX_LINE_BYTES:
            raise too_long(path)


def too_long(path: Path) -> OSError:
    return OSError(errno.EMSGSIZE, f"a line is longer than {MAX_LINE_BYTES >> 20} MiB", str(path))


def backwards(path: Path, size: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the same of a file that is not packed in blocks from the last one to the first, as it was when opened.

    Raises:
        UNREADABLE: it cannot be read, or not to its beginning; what lies behind was given before.

    """
    with _opened(path) as raw:
        yield from backwards_from(raw.fileno(), end_of_lines(raw.fileno()), path, size)


def backwards_from(fd: int, at: int, path: Path, size: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the same of what stands in an open file before `at`, where a line ends."""
    ends: list[bytes] = []  # from the last to the first: pieces of a line whose beginning was not read yet
    while at:
        data = os.pread(fd, min(size, at), max(0, at - size))
        if len(data) < min(size, at):
            raise EOFError("somebody cut the file")
        at -= len(data)
        start = data.find(b"\n") + 1 if at else 0
        if start or not at:
            yield b"".join([data[start:], *reversed(ends)])
            ends = [data[:start]]
        else:
            ends.append(data)
        if sum(map(len, ends)) > MAX_LINE_BYTES:
            raise too_long(path)


def end_of_lines(fd: int) -> int:
    """Return where the last whole line of an open file ends."""
    at = os.fstat(fd).st_size
    while at:
        start = max(0, at - _BLOCK_BYTES)
        found = os.pread(fd, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


def _opened(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with _opened(path) as raw:
        if path.suffix in _PACKED:
            yield from unpacked(raw, path.suffix, size)
        else:
            yield from iter(partial(raw.read, size), b"")
