"""The content of one file of a running log, packed or not, in blocks of whole lines."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

# Small enough to stay in the processor's cache from reading to searching.
_BLOCK_BYTES = 64 << 10
# What is unpacked at a time: a block of zeros becomes 30,000 times as long.
_STEP_BYTES = 2 << 10
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
    ends: list[bytes] = []  # from the last to the first: pieces of a line whose beginning was not read yet
    with _opened(path) as raw:
        at = os.fstat(raw.fileno()).st_size
        while at:
            data = os.pread(raw.fileno(), min(size, at), max(0, at - size))
            if len(data) < min(size, at):
                raise EOFError("somebody cut the file")
            at -= len(data)
            whole = data if ends else data[: data.rfind(b"\n") + 1]
            if not whole:  # of a last line without its line feed
                continue
            start = whole.find(b"\n") + 1 if at else 0
            if start or not at:
                yield b"".join([whole[start:], *reversed(ends)])
                ends = [whole[:start]]
            else:
                ends.append(whole)
            if sum(map(len, ends)) > MAX_LINE_BYTES:
                raise too_long(path)


def _opened(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with _opened(path) as raw:
        if path.suffix == ".zst":
            yield from _gathered(_unpacked(raw), size)
        elif path.suffix == ".gz":
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield from iter(partial(unpacked.read, size), b"")
        else:
            yield from iter(partial(raw.read, size), b"")


def _unpacked(raw: BinaryIO) -> Iterator[bytes]:
    """Unpack zstd, whose own reader takes a file that was cut for a whole one."""
    maker = zstandard.ZstdDecompressor()
    frame, begun = maker.decompressobj(), False
    while packed := raw.read(_STEP_BYTES):
        while packed:
            yield frame.decompress(packed)
            packed = frame.unused_data
            begun = not frame.eof
            if frame.eof:
                frame = maker.decompressobj()
    if begun:
        raise EOFError("the compressed file ends in the middle")


def _gathered(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    found: list[bytes] = []
    gathered = 0
    for part in parts:
        found.append(part)
        gathered += len(part)
        if gathered >= size:
            yield b"".join(found)
            found, gathered = [], 0
    yield b"".join(found)
