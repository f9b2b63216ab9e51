"""One file of a spool: records in the order of their calls.

Layout (version 1)::

    segment = header record* zero*
    header  = magic "LFSP" | version u32 | first u64 | crc32 u32 | 12 zero bytes    big endian, 32 bytes
    record  = 0xce length:u32 0xce crc32:u32 event                           three msgpack objects in a row

* `first` is the number of the first event (from 1), or 0 while nobody has counted so far: numbers are positions, and
  the shipper thread fills it in when it gets there. `crc32` is that of the 16 bytes before it: where it does not hold,
  `first` is not believed, because a wrong number would be worse than none.
* A record's `length` and `crc32` are those of `event`'s bytes.
* A segment ends at the first zero length. A record is put down by one memory copy, so a process that dies inside of
  it leaves at most one record whose checksum does not hold, followed by zeros.
* The file is allocated in full before it is mapped: a full disk is an error here and never a SIGBUS in the job.
  Segments are unlinked, never truncated. Size: `MIN_SEGMENT_BYTES` to `MAX_SEGMENT_BYTES`, larger only to hold one
  large event.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

from logferry.events import MAX_COUNT
from logferry.interruption import let_through
from logferry.killpoints import passed
from logferry.lock import Lock, held

MAGIC, VERSION = b"LFSP", 1
HEADER = struct.Struct(">4sIQ16x")
RECORD_HEAD = 10
MIN_SEGMENT_BYTES = 64 << 10
MAX_SEGMENT_BYTES = 4 << 20

record_head = struct.Struct(">BIBI").pack
_length_at = struct.Struct(">I").unpack_from
_crc_at = _length_at
_checksum = struct.Struct(">I")
_CHECKED = 16
# A record's first bytes: its mark and its length.
_LENGTH_BYTES = 5
# Records of one size in a row, as a training loop writes them, are walked so many at a time, once a few were seen.
_ALIKE, _FEW = 64, 4


class Segment(Protocol):
    """What the spool needs of a segment, however its bytes get to the file."""

    path: Path | None
    size: int
    # Of what can be written without a page fault, the end; and the end of the records at the shipper's last look.
    ready: int
    seen: int

    @property
    def mapping(self) -> mmap.mmap | None:
        """The mapped memory, where there is any."""

    def write(self, record: bytes, /) -> Any:
        """Append one record, whole or not at all; ValueError when it does not fit or nothing more is taken."""

    def tell(self) -> int:
        """Return the offset behind the last record, or the size once `retire` was called."""

    def retire(self) -> None:
        """Take no more records, not even from a thread that is about to write."""

    def view(self) -> Any:
        """Return the bytes as a buffer."""

    def number(self, first: int) -> None:
        """Note the number of the first event in the header."""

    def close(self) -> None:
        """Unmap, and unlink the file."""


class MappedSegment:
    """A segment in mapped memory: a file's, or anonymous (`path` None) where no spool can be allocated.

    Raises:
        OSError: the file cannot be made, or the disk has no room for it.

    """

    def __init__(self, path: Path | None, size: int) -> None:
        self.path, self.size = path, size
        self.mapping = mmap.mmap(-1, size) if path is None else _map_file(path, size)
        self.mapping.write(header(0))
        self.ready, self.seen = min(mmap.PAGESIZE, size), HEADER.size
        passed("segment.made")
        # The bound method itself is what a log call uses: no Python frame in between.
        self.write = self.mapping.write

    def tell(self) -> int:
        return self.mapping.tell()

    def retire(self) -> None:
        self.mapping.seek(0, os.SEEK_END)

    def view(self) -> mmap.mmap:
        return self.mapping

    def number(self, first: int) -> None:
        self.mapping[: HEADER.size] = header(first)

    def close(self) -> None:
        # A view that is still exported keeps the mapping until it goes; the file's name need not wait.
        with contextlib.suppress(BufferError):
            self.mapping.close()
        _unlink(self.path)


class WrittenSegment:
    """A segment written by write(2), for file systems on which allocating ahead promises nothing."""

    def __init__(self, path: Path, size: int) -> None:
        self.path: Path | None = path
        self.size, self.ready, self.mapping = size, size, None
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._lock = Lock()
        self._end = self.seen = os.pwrite(self._fd, header(0), 0)
        self._open = True

    def write(self, record: bytes, /) -> None:
        with held(self._lock):
            if not self._open or self._end + len(record) > self.size:
                raise ValueError("no room in this segment")
            try:
                written = os.pwrite(self._fd, record, self._end)
            except OSError as error:
                let_through(error)
                self._open = False
                raise ValueError("the segment cannot be written") from error
            if written < len(record):  # the torn record ends the segment for every reader
                self._open = False
                raise ValueError("the disk is full")
            self._end += written

    def tell(self) -> int:
        return self._end

    def retire(self) -> None:
        with held(self._lock):
            self._open = False

    def view(self) -> bytes:
        return os.pread(self._fd, self._end, 0)

    def number(self, first: int) -> None:
        os.pwrite(self._fd, header(first), 0)

    def close(self) -> None:
        os.close(self._fd)
        _unlink(self.path)


def _map_file(path: Path, size: int) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    passed("segment.opened")
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:  # macOS: zeros that were written are allocated too
            os.pwrite(fd, bytes(size), 0)
        passed("segment.allocated")
        mapping = mmap.mmap(fd, size)
    except BaseException:
        _unlink(path)
        raise
    finally:
        os.close(fd)
    # Else the first byte that is touched brings in as much as the disk reads ahead, up to the whole segment.
    with contextlib.suppress(OSError, AttributeError):  # not every system knows this advice
        mapping.madvise(mmap.MADV_RANDOM)
    return mapping


def _unlink(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def header(first: int) -> bytes:
    """Return the header of a segment whose first event has this number."""
    checked = HEADER.pack(MAGIC, VERSION, first)[:_CHECKED]
    return checked + _checksum.pack(crc32(checked)) + bytes(HEADER.size - _CHECKED - _checksum.size)


def first_number(data: bytes) -> int | None:
    """Return the number of the first event, 0 where the shipper never came here, None where the note was changed."""
    checked = data[:_CHECKED]
    sound = _checksum.pack(crc32(checked)) == data[_CHECKED : _CHECKED + _checksum.size]
    return int.from_bytes(checked[8:]) if sound else None


def walk(data: Any, start: int, end: int, limit_bytes: int) -> tuple[int, int]:
    """Return (offset behind the last, number) of the whole records from `start` on.

    At least one record if there is one, then as many as fit into `limit_bytes`, at most `MAX_COUNT`. Checksums are
    not looked at: the writer of these bytes is alive.
    """
    position, count = start, 0
    stop = min(end, start + limit_bytes)
    size, singly = 0, _FEW
    while count < MAX_COUNT and position + RECORD_HEAD < end:
        (length,) = _length_at(data, position + 1)
        before, size = size, RECORD_HEAD + length
        after = position + size
        if not length or after > end or (after > stop and count):
            break
        if singly:
            singly -= 1
        elif size == before and (alike := min(_ALIKE, MAX_COUNT - count, (stop - position) // size)) > _FEW:
            if _are_alike(data, position, size, alike):
                position, count = position + alike * size, count + alike
                continue
            singly = _ALIKE  # to ask costs as much as a few steps
        position, count = after, count + 1
    return position, count


def _are_alike(data: Any, position: int, size: int, records: int) -> bool:
    """Say whether so many records have the size of the first; then each begins where the one before ends."""
    end = position + records * size
    return all(data[at:end:size] == data[at : at + 1] * records for at in range(position, position + _LENGTH_BYTES))


def skip(data: Any, start: int, records: int) -> int:
    """Return the offset behind `records` records from `start` on."""
    position = start
    for _ in range(records):
        position += RECORD_HEAD + int(_length_at(data, position + 1)[0])
    return position


def head_at(data: Any, position: int) -> tuple[int, int]:
    """Return (length, crc32) of the record at `position`; length 0 where none begins or it would pass the end."""
    if position + RECORD_HEAD >= len(data) or data[position] != 0xCE or data[position + 5] != 0xCE:
        return 0, 0
    (length,), (checksum,) = _length_at(data, position + 1), _crc_at(data, position + 6)
    return (length, checksum) if position + RECORD_HEAD + length <= len(data) else (0, 0)
