"""The producer's side of its spool: append, roll, shed; and, for the shipper thread, read, go back and trim.

A log call appends with `hot.write`, the mapping's own method. Everything else is off the fast path: a record that does
not fit leads to `append`, a level below `hot.threshold` to `admit`.

Promises: an event whose call returned is in a segment or counted as shed; numbers are positions; a segment goes only
when all its events are durable at the agent; a gap record precedes the first event after a shedding.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import NamedTuple
from zlib import crc32

from logferry.diagnostics import complain
from logferry.events import ERROR, GAP, INFO, SYSTEM, WARNING, level_name, pack_event
from logferry.hot import ASLEEP, FULL, Hot
from logferry.interruption import let_through
from logferry.killpoints import passed
from logferry.lock import Lock, held
from logferry.segment import HEADER, Segment, record_head, skip, walk
from logferry.spool import HeadPage

# Without the GIL a copy into the mapping needs the lock that it otherwise has for nothing.
_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
# From which fill on which levels are shed (share of the spool's size, least level that is still taken).
_FILL_MARKS = ((0.9, ERROR), (0.8, WARNING), (0.6, INFO))


class Unsent(NamedTuple):
    """Consecutive records that the agent lacks: events `first … first + events - 1` at `start … stop` of a segment."""

    segment: Segment
    first: int
    events: int
    start: int
    stop: int


class Buffer:
    """One producer's events between its log calls and the agent.

    Args:
        directory: the spool's directory, or None to keep events in memory only.
        capacity: bytes that all segments together may have.
        hot: the object that the log calls read; `level` is set, the rest is set here.

    Raises:
        OSError: the first segment cannot be allocated.

    """

    def __init__(self, directory: Path | None, capacity: int, hot: Hot) -> None:
        from logferry.segments import Segments  # noqa: PLC0415 - with ctypes, of which readers have no use

        self._hot, self.capacity = hot, capacity
        self._segments = Segments(directory, capacity)
        self.head = HeadPage(directory)
        self._lock = Lock()
        self._rolling = 0  # the thread inside of `_roll`; one that the interpreter's end stopped there never leaves it
        self._late: list[tuple[int, bytes]] = []
        self._mark = 0
        self._reported: dict[int, int] = {}
        self._closed = False
        self.asleep = False
        self.wake: Callable[[], None] = lambda: None
        self._reading, self._offset, self.next_number = self._segments.active, HEADER.size, 1
        self._sent: deque[Unsent] = deque()
        hot.append, hot.admit = self.append, self.admit
        self._show(self._segments.active)
        self._set_threshold()

    # --- on the caller's thread ---

    def admit(self, level: int) -> bool:
        """Decide about a call at or above the run's level whose level is below `threshold`."""
        if self._closed:
            _complain_late()
            return False
        self._rouse()
        if level >= self._mark:
            return True
        with held(self._lock):
            self.head.shed(level)
        return False

    def append(self, level: int, record: bytes) -> None:
        """Append a record that did not fit into the active segment, or count it as shed."""
        with held(self._lock):
            if self._rolling == get_ident():  # from a signal handler or destructor inside of `_roll` below
                self._late.append((level, record))
                return
            if self._closed:
                _complain_late()
                return
            if not self._put(record, level):
                self.head.shed(level)
            late, self._late = self._late, []
        self._rouse()  # to make a record of odd values may have taken longer than the shipper stayed awake
        for late_level, late_record in late:
            self.append(late_level, late_record)

    def _rouse(self) -> None:
        if self.asleep:
            self.asleep = False
            self._set_threshold()
            self.wake()

    def _put(self, record: bytes, level: int) -> bool:
        while True:
            try:
                self._hot.write(record)
            except ValueError as error:
                let_through(error)
                if not self._roll(len(record), level):
                    return False
            else:
                return True

    def _roll(self, need: int, level: int) -> bool:
        self._rolling = get_ident()
        try:
            new = self._segments.take_spare(need)
            if new is None:
                self.head.outrun += 1
                new = self._segments.make(need)
            if new is None and level == SYSTEM:
                new = self._segments.make_from_reserve(need)
            if new is None or self._closed:  # closed meanwhile by a signal's handler
                self._segments.give_back(new)
                self._mark = FULL
                self._set_threshold()
                return False
            # First the old one is closed for every thread, then the new one is shown: none can append behind.
            self._segments.active.retire()
            passed("roll.retired")
            self._segments.live.append(new)
            self._show(new)
            passed("roll.shown")
            # There will be no other one for the run's last records.
            self._mark = FULL if self._segments.disk_is_full() else max(self._mark, self._fill_mark())
            self._set_threshold()
            self.wake()
            return True
        finally:
            self._rolling = 0

    def _show(self, segment: Segment) -> None:
        """Let log calls append to `segment`."""
        if _GIL:
            self._hot.write = segment.write
            return

        def write(record: bytes) -> None:
            with held(self._lock):
                segment.write(record)

        self._hot.write = write

    def _fill_mark(self) -> int:
        fill = self._segments.fill()
        mark: int = next((level for share, level in _FILL_MARKS if fill >= share), 0)
        return mark

    def _set_threshold(self) -> None:
        self._hot.threshold = ASLEEP if self.asleep or self._closed else max(self._hot.level, self._mark)

    # --- on the shipper's thread ---

    def set_level(self, level: int) -> None:
        """Set the least level that the run takes."""
        self._hot.level = level
        self._set_threshold()

    def sleep(self) -> bool:
        """Let the next call wake the shipper; return False, and stay awake, if something came meanwhile."""
        self.asleep = True
        self._set_threshold()
        if self.unread():
            self.asleep = False
            self._set_threshold()
        return self.asleep

    def is_full(self) -> bool:
        """Say whether every level is shed, until `prepare` finds room."""
        return self._mark >= FULL

    def prepare(self) -> None:
        """Prepare the spare segment, and the pages that the next calls reach."""
        if self.is_full():  # no ack may come that would lead to trying again
            with held(self._lock):
                self._relax()
        with held(self._lock):
            if self._closed:
                return
            self._segments.spare()
        self._segments.populate()

    def unread(self) -> int:
        """Return how many bytes `read` has not returned yet; a segment that has a successor counts whole."""
        if self._reading is not self._segments.active:
            return self._reading.size
        return self._reading.tell() - self._offset

    def read(self, limit_bytes: int) -> Unsent | None:
        """Return the next records, at most `limit_bytes` of them except to hold one record."""
        while True:
            # Asked before the bytes are looked at: a segment with a successor gets no more records.
            last = self._reading is self._segments.active
            stop, count = walk(self._reading.view(), self._offset, self._reading.tell(), limit_bytes)
            if count:
                found = Unsent(self._reading, self.next_number, count, self._offset, stop)
                with held(self._lock):  # `count` may be called from anywhere
                    self._offset, self.next_number = stop, self.next_number + count
                self._sent.append(found)
                return found
            if last:
                return None
            following = self._segments.after(self._reading)[1]
            following.number(self.next_number)
            with held(self._lock):
                self._reading, self._offset = following, HEADER.size

    def count(self) -> int:
        """Return the number of the last event that was logged so far. From any thread."""
        while True:
            with held(self._lock):
                number, start = self.next_number, self._offset
                segments = self._segments.after(self._reading)
            try:
                for segment in segments:
                    found = 1
                    while found:
                        start, found = walk(segment.view(), start, segment.tell(), 1 << 62)
                        number += found
                    start = HEADER.size
            except (ValueError, OSError):  # the shipper trimmed it meanwhile
                continue
            return number - 1

    def acked(self, through: int) -> None:
        """Trim what is durable at the agent."""
        if through <= self.head.acked_through or through >= self.next_number:
            return
        while self._sent and self._sent[0].first + self._sent[0].events - 1 <= through:
            self._sent.popleft()
        keep = self._sent[0].segment if self._sent else self._reading
        with held(self._lock):
            self.head.acked_through = through
            self.head.save()
            passed("trim.noted")
            old = self._segments.before(keep)
        if old:
            self._segments.unlink(old)
            with held(self._lock):
                self._segments.forget(old)
                self._relax()

    def _relax(self) -> None:
        """Take levels in again that were shed, the gap record first."""
        mark = self._fill_mark()
        if mark >= self._mark or (self._mark >= FULL and not self._segments.spare()):
            return
        if self.report_gap():
            self._mark = mark
            self._set_threshold()

    def report_gap(self) -> bool:
        """Write a gap record for what was shed since the last one; return whether all is reported."""
        with held(self._lock):
            counts = self.head.shed_counts()
            new = {level: counts[level] - self._reported.get(level, 0) for level in counts}
            shed = {level_name(level): count for level, count in new.items() if count}
            if not shed:
                return True
            packed = pack_event(self._hot.clock(), SYSTEM, GAP, None, {"shed": shed, "cause": "full"})
            if not self._put(frame(packed), INFO):
                return False
            self._reported = counts
            return True

    def rewind(self, expected: int) -> bool:
        """Read on at the event `expected`; return False if it is not here (any more, or yet)."""
        while self.next_number < expected:
            if self.read(1 << 20) is None:
                return False
        if expected == self.next_number:
            return True
        at = next((sent for sent in self._sent if sent.first <= expected < sent.first + sent.events), None)
        if at is None:
            return False
        while self._sent and self._sent[-1] is not at:
            self._sent.pop()
        self._sent.pop()
        offset = skip(at.segment.view(), at.start, expected - at.first)
        with held(self._lock):
            self._reading, self.next_number, self._offset = at.segment, expected, offset
        if expected > at.first:
            self._sent.append(Unsent(at.segment, at.first, expected - at.first, at.start, self._offset))
        return True

    def unacked_bytes(self) -> int:
        """Return how many bytes are on their way to the agent."""
        return sum(sent.stop - sent.start for sent in self._sent)

    def settle(self) -> None:
        """Append what waits for the end of a `_roll` that a signal's handler, which ends the process, is inside of."""
        with held(self._lock):
            self._rolling = 0
            late, self._late = self._late, []
            for level, record in late:
                if not self._put(record, level):
                    self.head.shed(level)

    def close(self) -> None:
        """Take no more events. The files stay: the agent adopts them once the lock is free."""
        with held(self._lock):
            self.settle()
            self._closed = True
            self._set_threshold()
            self._segments.active.retire()
        self.head.save()

    def release(self) -> None:
        """Let go of the memory; the shipper thread has ended. Only a segment that was never used is unlinked."""
        self._hot.write = _refuse
        self.head.close()  # a mapping keeps a descriptor, and this one is part of a cycle
        self._segments.release()
        self._sent.clear()
        del self._reading


def _complain_late() -> None:
    complain("finished", "an event came after its run was finished; it is not kept")


def _refuse(_record: bytes) -> None:
    raise ValueError("the run is finished")


def frame(packed: bytes) -> bytes:
    """Return the record that carries a packed event."""
    return record_head(0xCE, len(packed), 0xCE, crc32(packed)) + packed
