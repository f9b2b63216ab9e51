"""What an output still has to write, and what it would have to write again. No I/O.

Records wait in memory while there is room, and beyond that as positions in the journal, from which they are read
again. Positions of what is written stay known until a checkpoint covers them: so every failure has the same answer as
a crash, `rewind`. Order: unsaved positions < records in memory < later positions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from logferry_agent.segment import Damage, Record


@dataclass(slots=True)
class Memory:
    """How many bytes of payload all backlogs hold."""

    used: int = 0


class Backlog:
    """See the module; `seen` is the end of the last record that was offered."""

    def __init__(self, memory: Memory, seen: int) -> None:
        self.seen = seen
        self.queued_bytes = 0
        self._memory = memory
        self._queue: list[Record] = []  # of a thousand outputs most are empty: a deque takes half a KiB for that
        self._later = array("Q")
        self._unsaved = array("Q")

    def __bool__(self) -> bool:
        return bool(self._queue or self._later)

    @property
    def is_unsaved(self) -> bool:
        return bool(self._unsaved)

    @property
    def next_later(self) -> int | None:
        """Position of the next record that is to be read from the journal, None while one is in memory, or none is."""
        return self._later[0] if self._later and not self._queue else None

    @property
    def in_journal(self) -> bool:
        """Say whether records wait in the journal only."""
        return bool(self._later)

    def first_needed(self) -> int | None:
        """Return the journal position from which on records are still needed; None: all are covered."""
        if self._unsaved:
            return self._unsaved[0]
        if self._queue:
            return self._queue[0].position
        return self._later[0] if self._later else None

    def offer(self, record: Record, *, keep: bool) -> None:
        """Take note of a record; `keep` says whether its payload may stay in memory."""
        if record.position < self.seen:
            return
        self.seen = record.end
        if keep and not self._later:
            self._queue.append(record)
            self._hold(len(record.payload))
        else:
            self._later.append(record.position)

    def take(self, limit_bytes: int) -> list[Record]:
        """Take the next records from memory, about `limit_bytes`."""
        size = count = 0
        while count < len(self._queue) and size < limit_bytes:
            size += len(self._queue[count].payload)
            count += 1
        records = self._queue[:count]
        del self._queue[:count]
        self._hold(-size)
        self._unsaved.extend(record.position for record in records)
        return records

    def take_later(self, found: Iterable[Record | Damage], end: int) -> list[Record]:
        """Take what was read from `next_later` up to `end`; what is not found there shows as a jump of the numbers."""
        wanted = self._later[: max(1, bisect_left(self._later, end))]
        held = {record.position: record for record in found if isinstance(record, Record)}
        self._unsaved.extend(wanted)
        del self._later[: len(wanted)]
        return [held[position] for position in wanted if position in held]

    def saved(self) -> None:
        """All that was taken is covered by a checkpoint."""
        self._unsaved = array("Q")

    def spill(self) -> None:
        """Keep positions only."""
        self._later = array("Q", [record.position for record in self._queue]) + self._later
        self._queue.clear()
        self._hold(-self.queued_bytes)

    def rewind(self) -> None:
        """Go back to the last checkpoint."""
        self.spill()
        self._later = self._unsaved + self._later
        self._unsaved = array("Q")

    def _hold(self, count: int) -> None:
        self.queued_bytes += count
        self._memory.used += count
