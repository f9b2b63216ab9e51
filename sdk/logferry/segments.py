"""The segments of one spool, oldest first, and a spare one that is prepared ahead of the calls.

Promises: all segments together never pass the spool's capacity (beside it is a reserve for a run's last records); a
segment is allocated only while its file system keeps a tenth free, and a run whose disk is full has its last records in
the spare; names are in the order of use.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections import deque
from pathlib import Path

from logferry import pages
from logferry.interruption import let_through
from logferry.killpoints import passed
from logferry.layout import UNALLOCATABLE_FILESYSTEMS, filesystem_type
from logferry.segment import (
    HEADER,
    MAX_SEGMENT_BYTES,
    MIN_SEGMENT_BYTES,
    MappedSegment,
    Segment,
    WrittenSegment,
)

# A job's log must not be what fills the disk up.
_KEEP_FREE = 0.1
# Pages are faulted in for so many times what was written since the shipper's last look. Each costs some microseconds,
# which calls are spared; and memory and a write to the disk, which a producer is spared that hardly logs.
_AHEAD = 4
# Beside a full spool there is room for the run's last records: its result, and how it ended.
_RESERVE_BYTES = 4 << 20


class Segments:
    """What there is, and whether there may be more. Callers hold the buffer's lock where something changes.

    Args:
        directory: the spool's directory, or None for anonymous memory.
        capacity: bytes that all segments together may have.

    Raises:
        OSError: the first segment cannot be allocated.

    """

    def __init__(self, directory: Path | None, capacity: int) -> None:
        self._directory, self._capacity = directory, capacity
        self._largest = min(MAX_SEGMENT_BYTES, max(MIN_SEGMENT_BYTES, capacity // 8))
        self._written = directory is not None and filesystem_type(directory) in UNALLOCATABLE_FILESYSTEMS
        self._names = itertools.count(1)
        self._spare: Segment | None = None
        self.live: deque[Segment] = deque()
        first = self.allocate(MIN_SEGMENT_BYTES)
        if first is None:
            raise OSError(28, "no room for a spool", str(directory))
        self.live.append(first)

    @property
    def active(self) -> Segment:
        return self.live[-1]

    def fill(self) -> float:
        """Return how much of the capacity is in use, the spare not counted."""
        return sum(segment.size for segment in self.live) / self._capacity

    def take_spare(self, record_bytes: int) -> Segment | None:
        """Return the spare if a record of this size fits into it."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.size < record_bytes + HEADER.size:
            spare.close()  # names are in the order of use: one that is passed over must not be used later
            return None
        return spare

    def disk_is_full(self) -> bool:
        """Say whether there is no room for the smallest segment; who logs waits for no network to tell."""
        if self._directory is None or self._written:
            return False
        try:
            found = os.statvfs(self._directory)
        except OSError as error:
            let_through(error)
            return True
        return found.f_bavail * found.f_frsize < MIN_SEGMENT_BYTES

    def give_back(self, spare: Segment | None) -> None:
        self._spare = spare

    def make(self, record_bytes: int) -> Segment | None:
        """Allocate a segment now, large enough for a record; None where there is no room."""
        return self.allocate(max(self._next_size(), record_bytes + HEADER.size))

    def make_from_reserve(self, record_bytes: int) -> Segment | None:
        return self.allocate(max(MIN_SEGMENT_BYTES, record_bytes + HEADER.size), reserved=True)

    def spare(self) -> Segment | None:
        """Return the spare, allocated if there is room and none was."""
        if self._spare is None:
            self._spare = self.allocate(self._next_size())
        return self._spare

    def populate(self) -> None:
        """Fault in the pages that calls will reach before the next look, without the buffer's lock."""
        active, spare = self.active, self._spare
        end = active.tell()
        ahead, active.seen = _AHEAD * (end - active.seen), end
        _make_ready(active, end, ahead)
        if spare is not None and end + ahead > active.size:
            _make_ready(spare, 0, end + ahead - active.size)

    def before(self, segment: Segment) -> list[Segment]:
        """Return those that are older than `segment`."""
        return list(self.live)[: self.live.index(segment)]

    def unlink(self, old: list[Segment]) -> None:
        """Unlink segments that nobody reads any more, without the buffer's lock; `forget` them afterwards."""
        for segment in old:
            if segment.mapping is not None:
                pages.let_go(segment.mapping)
            segment.close()
            passed("trim.unlinked")

    def forget(self, old: list[Segment]) -> None:
        for _ in old:
            self.live.popleft()

    def after(self, segment: Segment) -> list[Segment]:
        """Return `segment` and those behind it."""
        return list(self.live)[self.live.index(segment) :]

    def release(self) -> None:
        """Let go of the memory. Only a segment that was never used is unlinked."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
        self.live.clear()

    def allocate(self, size: int, *, reserved: bool = False) -> Segment | None:
        """Make a segment of `size` bytes, from the reserve too if that is said; None where there is no room."""
        try:
            if self._used() + size > self._capacity + (_RESERVE_BYTES if reserved else 0):
                return None
            if self._directory is None:
                return MappedSegment(None, size)
            found = os.statvfs(self._directory)
            keep = 0 if reserved else _KEEP_FREE * found.f_blocks * found.f_frsize
            if found.f_bavail * found.f_frsize - size < keep:
                return None
            path = self._directory / f"{next(self._names):08d}.seg"
            return WrittenSegment(path, size) if self._written else MappedSegment(path, size)
        except OSError as error:
            let_through(error)
            return None

    def _next_size(self) -> int:
        # Fast: 64 KiB last for less than a millisecond at full speed, and the shipper has to wake up in between.
        return min(self._largest, self.active.size * 16)

    def _used(self) -> int:
        return sum(segment.size for segment in self.live) + (self._spare.size if self._spare else 0)


def _make_ready(segment: Segment, end: int, ahead: int) -> None:
    """Have `ahead` bytes behind `end` faulted in; where any of them is not, twice as many at once."""
    if segment.mapping is not None and segment.ready < min(end + ahead, segment.size):
        start = max(segment.ready, end - end % mmap.PAGESIZE)
        segment.ready = min(-(-(end + 2 * ahead) // mmap.PAGESIZE) * mmap.PAGESIZE, segment.size)
        pages.populate(segment.mapping, start, segment.ready)
