"""The agent's append-only log of what it accepted; what is in it, synced, is *durable*.

One thread writes: it takes everything that is queued, appends it, syncs, and only then says so (`on_durable`); in a
crowd it lets a moment pass between syncs. The format is in segment.py, what happens at opening in
journal_recovery.py. Promises:

* What `on_durable` was called with is read back once and in order after any crash; `durable` never goes back.
* An append that fails (no space, I/O error) is retried at the same place; `held` says so from the first failure on.
* After a sync that failed, that segment is closed for good and what was not said to be durable goes to a new one.
* Reading works from any thread and never shows what is not durable.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep

from logferry.killpoints import passed
from logferry.wire import MAX_PRODUCER_ID_BYTES
from logferry_agent.fs import FileSystem, Problem, write_all
from logferry_agent.journal_reader import JournalReader
from logferry_agent.journal_recovery import Segment, recover, segment_path
from logferry_agent.quarantine import Quarantine
from logferry_agent.segment import (
    AGENT,
    EVENTS,
    HELLO,
    MAX_PAYLOAD,
    RECORD_BYTES,
    Damage,
    Entry,
    Record,
    encode_header,
    encode_record,
    offset_of,
    position_of,
    segment_of,
)

__all__ = ["AGENT", "EVENTS", "HELLO", "Damage", "Entry", "Journal", "Record"]

_log = logging.getLogger(__name__)
# A group larger than this adds delay to its first ack and gains nothing.
_GROUP_BYTES = 8 << 20
SEGMENT_BYTES = 32 << 20
# A sync costs the agent as much as several frames. So many producers in one of them are a crowd that gathers for
# half a second before it ships: the next sync waits for more of its frames.
_CROWD, _GATHER_S = 6, 0.02
RETRY_S = 0.5


class Journal:
    """A journal directory, opened: recovered at once, written to from `start` on.

    Args:
        directory: made where it is missing.
        fs: the file system.
        on_durable: called on the journal's thread with the entries of each group and the new durable position.
        clock_ns: the wall clock.
        segment_bytes: a segment that has reached this size is followed by a new one.
        retry_s: how long to wait after a failed attempt.

    Raises:
        OSError: what is there cannot be read or not be made durable.

    """

    def __init__(
        self,
        directory: Path,
        fs: FileSystem,
        on_durable: Callable[[list[Entry], int], None],
        clock_ns: Callable[[], int],
        segment_bytes: int = SEGMENT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        self._directory, self._fs, self._on_durable, self._clock_ns = directory, fs, on_durable, clock_ns
        self._segment_bytes, self._retry_s = segment_bytes, retry_s
        fs.make_directories(directory, directory.parent.parent, 0o700)
        # A sync of the segments says nothing of the names that lead to them; an earlier life may have made them.
        fs.sync_directory(directory.parent)
        with contextlib.suppress(PermissionError):  # not ours: then it was there before us
            fs.sync_directory(directory.parent.parent)
        self.quarantine = Quarantine(fs, directory / "bad")
        self._reader = JournalReader(fs, directory, self.quarantine)
        found = recover(fs, directory)
        self.ledger, self._segments, self._base, self._next_id = (
            found.ledger, found.segments, found.base, found.next_id,
        )  # fmt: skip
        self.cut_bytes = found.cut_bytes
        last = found.segments[-1] if found.segments else None
        self.durable = position_of(last.id, last.end) if last else 0
        self.held: Problem | None = None
        self.queued_bytes = 0
        self._queue: deque[Entry] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        # Guards the list of segments and the reader; never held while a write or sync is under way.
        self._lock = threading.Lock()
        self._fd: int | None = None  # of the segment that is appended to; the last of the list
        self._thread = threading.Thread(target=self._run, name="logferry-journal", daemon=True)
        for damage in found.damage:
            self._reader.keep(damage)

    @property
    def oldest(self) -> int:
        """Position before which nothing is kept."""
        with self._lock:
            return position_of(self._segments[0].id, 0) if self._segments else self.durable

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def start(self) -> None:
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def close(self, timeout_s: float | None = None) -> bool:
        """Write and sync what is queued, end the thread; say whether all of it became durable in time."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        done = not self._thread.is_alive() and not self._queue
        if not self._thread.is_alive():
            self._close_files()
        return done

    def append(self, entries: Iterable[Entry]) -> None:
        """Queue entries; they become durable in this order.

        Raises:
            ValueError: one is larger than a record may be; none is queued then.

        """
        new = list(entries)
        for entry in new:
            if len(entry.payload) > MAX_PAYLOAD or len(entry.producer.encode()) > MAX_PRODUCER_ID_BYTES:
                raise ValueError(f"a record of {len(entry.payload)} bytes of {entry.producer!a} is beyond the limits")
        with self._wake:
            self._queue += new
            self.queued_bytes += sum(map(_size, new))
            self._wake.notify()

    def forget(self, producer: str) -> None:
        """Drop a producer's row: nothing of it is left in the journal and nothing will come."""
        with self._lock:
            self.ledger.rows.pop(producer, None)

    def read(self, position: int, limit_bytes: int) -> tuple[list[Record | Damage], int]:
        """Read from `position` on, about `limit_bytes` but at least one record; return it and where to go on.

        Raises:
            OSError: a segment cannot be read.

        """
        with self._lock:
            durable = self.durable
            for segment in self._segments:
                if segment.id < segment_of(position):
                    continue
                start = offset_of(position) if segment.id == segment_of(position) else 0
                active = segment.id == segment_of(durable)
                end = offset_of(durable) if active else segment.end
                if start < end:
                    items, position = self._reader.read(segment, start, end, limit_bytes)
                    if items:
                        break
                if not active:
                    position = position_of(segment.id + 1, 0)
            else:
                return [], position
        for item in items:
            if isinstance(item, Damage):
                self._reader.keep(item)
        return items, position

    def trim(self, position: int) -> None:
        """Unlink the segments that lie wholly before `position`, never the newest one with a sound header."""
        with self._lock:
            keep_from = min(segment_of(position), self._base)
            while len(self._segments) > 1 and self._segments[0].id < keep_from:
                try:
                    if not self._segments[0].missing:
                        self._fs.unlink(segment_path(self._directory, self._segments[0].id))
                        passed("journal.trimmed")
                except FileNotFoundError:
                    pass
                except OSError as error:
                    _log.warning("journal segment cannot be removed, tried again later: %s", error)
                    return
                del self._segments[0]

    # the journal's thread

    def _run(self) -> None:
        while group := self._next_group():
            while not self._commit(group):
                with self._wake:
                    if self._stopping:  # what is not durable was not acked: its producers still have it
                        return
                    self._wake.wait(self._retry_s)
            with self._wake:
                for _ in group:
                    self._queue.popleft()
                self.queued_bytes -= sum(map(_size, group))
            self._on_durable(group, self.durable)
            if len({entry.producer for entry in group}) >= _CROWD:
                sleep(_GATHER_S)

    def _next_group(self) -> list[Entry]:
        """Wait for entries and return those of the next group, which stay queued until they are durable."""
        with self._wake:
            while not self._queue and not self._stopping:
                self._wake.wait()
            group: list[Entry] = []
            size = 0
            for entry in self._queue:
                if group and size + _size(entry) > _GROUP_BYTES:
                    break
                group.append(entry)
                size += _size(entry)
            return group

    def _commit(self, group: list[Entry]) -> bool:
        """Append and sync one group; say whether it is durable now."""
        what = "open"
        try:
            fd = self._segment_with_room()
            start = offset_of(self.durable)
            buffers, positions = _encoded(group, self.durable, start)
            what = "write"
            size = write_all(self._fs, fd, buffers, start)
            passed("journal.appended")
            what = "sync"
            self._fs.fdatasync(fd)
            passed("journal.synced")
        except OSError as error:
            self._hold(what, error)
            if what == "sync":
                self._abandon()
            return False
        with self._lock:
            for entry, position in zip(group, positions, strict=True):
                self.ledger.apply(entry, position)
            self._segments[-1].end = self._segments[-1].size = start + size
            self.durable += size
        self._release()
        return True

    def _segment_with_room(self) -> int:
        if self._fd is None or offset_of(self.durable) >= self._segment_bytes:
            self._new_segment()
        assert self._fd is not None  # noqa: S101 - for the type checker
        return self._fd

    def _new_segment(self) -> None:
        """Make a segment whose header and name are durable, and make it the one that is appended to."""
        with self._lock:
            ends = {segment.id: segment.end for segment in self._segments}
            header = encode_header(self._next_id, ends, self.ledger.dump())
        path = segment_path(self._directory, self._next_id)
        try:
            fd = self._fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            self._next_id += 1
            raise
        passed("journal.opened")
        try:
            write_all(self._fs, fd, [header], 0)
            passed("journal.headed")
            self._fs.fdatasync(fd)
            passed("journal.named")
            self._fs.sync_directory(self._directory)
            passed("journal.begun")
        except OSError:
            self._next_id += 1  # the name may be durable already, with bytes that are not
            self._let_go(fd)
            self._fs.unlink(path)
            raise
        self._abandon()
        with self._lock:
            self._fd = fd
            self._segments.append(Segment(self._next_id, len(header), len(header)))
            self._base = self._next_id
            self.durable = position_of(self._next_id, len(header))
            self._next_id += 1

    def _abandon(self) -> None:
        """Never write to the segment again: what it holds beyond its end is not trusted."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._let_go(fd)

    def _let_go(self, fd: int) -> None:
        # A close that fails frees the number all the same; it says nothing of what was synced, nothing else counts.
        with contextlib.suppress(OSError):
            self._fs.close(fd)

    def _hold(self, what: str, error: OSError) -> None:
        path = str(error.filename or self._directory)
        since = self.held.since_ns if self.held else self._clock_ns()
        if self.held is None:
            _log.error("journal: cannot %s %s: %s; retrying, jobs keep their events", what, path, error.strerror)
        self.held = Problem("journal", path, f"{what}: {error.strerror}", since)

    def _release(self) -> None:
        if self.held:
            _log.warning("journal: writing again at %s", self._directory)
            self.held = None

    def _close_files(self) -> None:
        self._abandon()
        with self._lock:
            self._reader.close()


def _size(entry: Entry) -> int:
    return RECORD_BYTES + len(entry.payload)


def _encoded(group: list[Entry], position: int, synced: int) -> tuple[list[bytes | memoryview], list[int]]:
    buffers: list[bytes | memoryview] = []
    positions = []
    for entry in group:
        positions.append(position)
        buffers += [encode_record(entry, position, synced), entry.payload]
        position += _size(entry)
    return buffers, positions
