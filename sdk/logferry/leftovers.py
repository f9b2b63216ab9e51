"""The events that a dead producer left in its spool, read by whoever adopts it (see spool.py for the directory).

Each record's checksum is looked at, because only here a part may be whole. What is not whole is a `Hole`, and what
lies behind it is read on where that can be told.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from logferry.events import MAX_COUNT
from logferry.segment import HEADER, MAGIC, RECORD_HEAD, VERSION, first_number, head_at, header
from logferry.spool import FIRST_SEGMENT

_ZEROS = bytes(64 << 10)


class Slice(NamedTuple):
    """Whole records `first … first + events - 1`, their checksums verified."""

    first: int
    events: int
    payload: bytes


class Hole(NamedTuple):
    """A place where records are not whole.

    `reason`: "torn" (the producer died inside of its last call, which never returned: nothing is lost; a byte changed
    in the very last record looks the same), "checksum" (bytes were changed), "missing" (events lie in no segment),
    "version" (a segment of another version).
    `events`: how many are lost, None where that cannot be known. `data`: the bytes, to be kept aside.
    """

    first: int
    events: int | None
    reason: str
    data: bytes


def read_dead(directory: Path, after: int, limit_bytes: int) -> Iterator[Slice | Hole]:
    """Yield the events numbered above `after` of a spool whose lock the caller holds.

    Segments behind a place whose events cannot be counted get their number noted, as the shipper would have done.

    Args:
        directory: the spool.
        after: number of the last event that is durable already; 0 for all.
        limit_bytes: slices are no larger, except to hold one whole event.

    Raises:
        OSError: a segment cannot be read now; what it holds may still be there.

    """
    expected = 0  # number of the next event, 0 until a segment says it
    is_counted = True  # nobody knows how many events a place like `Hole` without a count held
    for path in sorted(directory.glob("[0-9]*.seg")):
        if path.stem == FIRST_SEGMENT:
            expected = 1
        data, hole = _segment(path, expected)
        if hole:
            yield hole
            is_counted = False
        if hole or is_blank(data, HEADER.size):  # not used; it may have been passed over for one that is larger
            continue
        first = first_number(data)
        if first == 0 and not is_counted:
            # Its producer's shipper never came here: nothing of it is durable. The next adopter must count the same.
            first = expected = max(expected, after + 1)
            _note_number(path, first)
        expected = expected or first or 0
        if not expected:
            yield Hole(0, None, "checksum", data)
            is_counted = False
            continue
        if first and first > expected:
            yield Hole(expected, first - expected, "missing", b"")
            expected = first
        expected, is_counted = yield from _records(data, expected, after, limit_bytes)


def _segment(path: Path, expected: int) -> tuple[bytes, Hole | None]:
    """Return a segment's bytes, none where it was never begun, or what is wrong with it as a whole."""
    data = path.read_bytes()
    if is_blank(data[: HEADER.size]):  # the producer died while it prepared this one
        return b"", None
    magic, version, _ = HEADER.unpack_from(data.ljust(HEADER.size, b"\0"))
    if magic != MAGIC or version != VERSION:
        return b"", Hole(expected, None, "version" if magic == MAGIC else "checksum", data)
    return data, None


def _note_number(path: Path, first: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(fd, header(first), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def _records(data: bytes, first: int, after: int, limit_bytes: int) -> Generator[Slice | Hole, None, tuple[int, bool]]:
    """Yield one segment's events above `after`; return the number that the next begins with, if all were counted."""
    start = position = HEADER.size
    number = begin = first
    while True:
        length, crc32 = head_at(data, position)
        end = position + RECORD_HEAD + length
        whole = bool(length) and zlib.crc32(data[position + RECORD_HEAD : end]) == crc32
        done = number <= after  # durable already: passed over, not shipped again
        if number > begin and (not whole or done or end - start > limit_bytes or number - begin == MAX_COUNT):
            yield Slice(begin, number - begin, data[start:position])
            start, begin = position, number
        if not whole:
            hole = _hole(data, position, end if length else 0, number)
            if hole is None or hole.events is None:
                if hole is not None:
                    yield hole
                return number, hole is None
            if not done:
                yield hole
            start, begin = end, number + 1
        elif done:
            start, begin = end, number + 1
        position, number = end, number + 1


def _hole(data: bytes, position: int, end: int, number: int) -> Hole | None:
    """Say what is at a place where no whole record begins: nothing, the last call's torn record, or damage."""
    if is_blank(data, position):
        return None
    if end and head_at(data, end)[0] and not _whole_record_in(data[position:end], 1):
        return Hole(number, 1, "checksum", data[position:end])
    torn = is_blank(data, end or position + RECORD_HEAD) and not _whole_record_in(data, position + 1)
    return Hole(number, None, "torn" if torn else "checksum", data[position:].rstrip(b"\0"))


def is_blank(data: bytes, position: int = 0) -> bool:
    """Say whether there are only zeros from `position` on. Asking byte by byte took longer than all else of a spool."""
    while position < len(data):
        if not data.startswith(_ZEROS[: len(data) - position], position):
            return False
        position += len(_ZEROS)
    return True


def _whole_record_in(data: bytes, start: int) -> bool:
    """Say whether a whole record begins anywhere behind `start`: then what is before it was no last call."""
    position = data.find(b"\xce", start)
    while position >= 0:
        length, crc32 = head_at(data, position)
        begin = position + RECORD_HEAD
        if length and zlib.crc32(data[begin : begin + length]) == crc32:
            return True
        position = data.find(b"\xce", position + 1)
    return False
