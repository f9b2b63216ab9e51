"""Who ships events, which number comes next from each, and how each ended. No I/O: what to do comes back as values.

A producer's batch is taken only on the connection that said hello last and only from the next expected number on;
so a number is journalled once, whatever is sent twice, late or on an old connection. A row lives until the producer
is sealed, its spool is gone and no journal record of it is left.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgpack

from logferry import wire
from logferry.layout import safe_component
from logferry_agent.ledger import Ledger, end_of
from logferry_agent.segment import EVENTS, HELLO, Entry

Run: TypeAlias = tuple[str, str]

# So many that what each of them costs is what the agent costs.
_CROWD = 64

_ID = re.compile(r"[a-z0-9]{8,12}")
# Every row costs memory and a place in each segment's header; a node runs a thousand producers at a time.
MAX_PRODUCERS = 100_000
_MAX_TEXT = 4096
_ABOUT: dict[str, tuple[type, ...]] = {
    "experiment_id": (str,),
    "run_id": (str,),
    "host": (str,),
    "pid": (int,),
    "rank": (int, type(None)),
    "home": (str,),
    "owner": (bool,),
    "spool": (str,),
    "boot_id": (str,),
    "pid_start": (int,),
    "started_ns": (int,),
    "level": (int, type(None)),
    "sdk": (str,),
    "cgroup": (str,),
    "cgroup_inode": (int,),
    "oom_kills": (int,),
}
# Who says hello with the id of somebody else is refused.
_SAME = ("experiment_id", "run_id", "host", "pid", "pid_start", "boot_id")
_NEEDED = ("experiment_id", "run_id", "host", "pid", "owner", "spool")


class Taken(NamedTuple):
    """The batch is the next one: append this."""

    entry: Entry


class Old(NamedTuple):
    """All of it was taken before: ack again."""


class Refused(NamedTuple):
    """What was said cannot be: count it under `reason`."""

    reason: str
    detail: str


Answer: TypeAlias = Taken | Old | wire.Nack | wire.Who | Refused


@dataclass(slots=True)
class Producer:
    """One producer; `next` is the next number that is taken, `told` what it was acked last (durable, written)."""

    id: str
    about: dict[str, Any]
    next: int = 1
    durable: int = 0
    written: int = 0
    told: tuple[int, int] = (-1, -1)
    awaited: int = 0  # somebody waits for all up to this to be durable
    identity: bytes | None = None
    greet: bool = False
    level: int | None = None
    adopting: bool = False
    sealed: bool = False
    settled: bool = False  # the seal is in the run's file, checkpointed
    spool_gone: bool = False
    end: dict[str, Any] | None = None

    @property
    def run(self) -> Run:
        return self.about["experiment_id"], self.about["run_id"]

    @property
    def in_memory(self) -> bool:
        return bool(self.about["spool"] == "memory")


def checked_about(producer: str, about: dict[str, Any]) -> dict[str, Any] | Refused:
    """Return what is known of an untrusted about map, or why it is refused."""
    if not _ID.fullmatch(producer):
        return Refused("hello", f"{producer!a} is no producer id")
    for key in _NEEDED:
        if key not in about:
            return Refused("hello", f"{producer}: {key} is missing")
    for key, types in _ABOUT.items():
        value = about.get(key, "")
        if key in about and (not isinstance(value, types) or (isinstance(value, str) and len(value) > _MAX_TEXT)):
            return Refused("hello", f"{producer}: {key} is a {type(value).__name__}, or too long")
    try:
        safe_component(about["experiment_id"], "experiment id")
        safe_component(about["run_id"], "run id")
        safe_component(about["host"], "host")
    except ValueError as error:
        return Refused("hello", f"{producer}: {error}")
    return {key: about[key] for key in _ABOUT if key in about}


class Producers:
    """All producers that the agent knows.

    Args:
        ledger: what the journal says of them.

    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows: dict[str, Producer] = {}
        self._unsealed_of: Counter[Run] = Counter()  # how many of each run are not sealed
        self._changed: set[str] = set()
        # In a crowd, those of whom more is durable than they were told, since this tick of `age` or the one before:
        # one ack that says written too costs the agent and the job half of what two do.
        self._fresh: set[str] = set()
        self._old: set[str] = set()
        self.connected = 0
        self.added = 0  # goes up with each that becomes known
        # Kept, because a thousand rows are much to look through several times a second.
        self.unsealed: set[str] = set()
        self.ending: set[str] = set()  # those of them that said their end
        for name, row in ledger.rows.items():
            if row.about is not None:
                one = Producer(name, row.about, row.next, row.next - 1, sealed=row.sealed, end=row.end)
                self._add(one)

    def __iter__(self) -> Iterator[Producer]:
        return iter(list(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_crowd(self) -> bool:
        return self.connected >= _CROWD

    def names(self) -> set[str]:
        return set(self._rows)

    def sealed(self) -> list[Producer]:
        return [self._rows[name] for name in self._rows.keys() - self.unsealed]

    def get(self, producer: str) -> Producer | None:
        return self._rows.get(producer)

    def about(self, producer: str) -> dict[str, Any] | None:
        one = self._rows.get(producer)
        return one.about if one else None

    def alive(self, experiment_id: str, run_id: str) -> bool:
        """Say whether a producer of the run is not sealed yet."""
        return (experiment_id, run_id) in self._unsealed_of

    def introduce(self, producer: str, about: dict[str, Any]) -> Entry | Refused | None:
        """Take in who a producer is; return what to append the first time."""
        known = self._rows.get(producer)
        if known and all(known.about.get(key) == about.get(key) for key in _SAME):
            return None
        checked = checked_about(producer, about)
        if isinstance(checked, Refused):
            return checked
        if known:
            return Refused("hello", f"{producer} is another process, or of another run")
        if len(self._rows) >= MAX_PRODUCERS:
            return Refused("hello", f"{producer}: there are {MAX_PRODUCERS} producers already")
        self._add(Producer(producer, checked))
        return Entry(HELLO, producer, 0, 0, msgpack.packb(checked))

    def hello(self, frame: wire.Hello, identity: bytes) -> Entry | Refused | None:
        """Bind a producer to its connection; it is welcomed once all that was taken from it is durable."""
        entry = self.introduce(frame.producer, frame.about)
        if isinstance(entry, Refused):
            return entry
        one = self._rows[frame.producer]
        if one.sealed or one.adopting:
            return Refused("ended", f"{frame.producer} is back after its end")
        self._skip_to(one, frame.acked_through)
        self.connected += one.identity is None
        one.identity, one.greet, one.told = identity, True, (-1, -1)
        return entry

    def offer(self, batch: wire.Batch, identity: bytes) -> Answer:
        one = self._rows.get(batch.producer)
        if one is None or one.identity != identity:
            return wire.Who(batch.producer)
        if batch.first == one.next:
            return self.take(one, batch.first, batch.events, batch.payload, batch.crc32)
        if batch.first + batch.events <= one.next:
            one.told = (-1, -1)
            self._changed.add(one.id)
            return Old()
        return wire.Nack(one.id, one.next, "expected")

    def take(self, one: Producer, first: int, events: int, payload: bytes, crc32: int | None = None) -> Taken:
        one.next = first + events
        if (end := end_of(payload)) is not None:
            one.end = end
            self.ending.add(one.id)
        return Taken(Entry(EVENTS, one.id, first, events, payload, crc32))

    def take_durable(self, entries: Iterable[Entry]) -> None:
        """Note what the journal made durable."""
        for entry in entries:
            one = self._rows.get(entry.producer)
            if one and entry.kind == EVENTS:
                one.durable = entry.first + entry.events - 1
            elif one and entry.kind == HELLO and (row := self._ledger.rows.get(one.id)) and row.about == one.about:
                one.about = row.about  # the same, kept once
            if one:
                can_wait = self.is_crowd and not one.greet and one.awaited <= one.told[0]
                (self._fresh if can_wait else self._changed).add(one.id)

    def take_written(self, written: dict[str, int]) -> None:
        """Note what is in the runs' files, checkpointed."""
        for name, number in written.items():
            one = self._rows.get(name)
            if one:
                one.written = max(one.written, number)
                self._fresh.discard(name)
                self._old.discard(name)
                self._changed.add(name)

    def wait(self, one: Producer) -> None:
        """Note that somebody waits for what was taken to be durable."""
        one.awaited = one.next - 1
        self._changed.add(one.id)

    @property
    def has_news(self) -> bool:
        """Say whether `news` may have some."""
        return bool(self._changed)

    @property
    def held_back(self) -> bool:
        """Say whether some are not told yet what is durable."""
        return bool(self._fresh or self._old)

    def age(self) -> None:
        """Have those told who were not at the last call."""
        self._changed |= self._old
        self._old, self._fresh = self._fresh, set()

    def take_settled(self, producers: Iterable[str]) -> None:
        """Note whose seal is in the run's file, checkpointed."""
        for one in filter(None, map(self._rows.get, producers)):
            one.settled = True

    def news(self, level_for: Callable[[str, str], int | None]) -> Iterator[tuple[Producer, wire.Welcome | wire.Ack]]:
        """Yield what connected producers are to be told; call `told` with what could be sent."""
        for name in list(self._changed):
            one = self._rows.get(name)
            if one is None or one.identity is None:
                self._changed.discard(name)
            elif one.greet:
                # "expected" says that all before it is durable: while it is not, the producer keeps its events.
                if one.durable >= one.next - 1:
                    window = wire.window(self.connected)
                    yield one, wire.Welcome(name, one.next, level_for(*one.run), window, one.written)
            elif one.told != (one.durable, one.written):
                yield one, wire.Ack(name, one.durable, one.written)
            else:
                self._changed.discard(name)

    def told(self, one: Producer, frame: wire.Welcome | wire.Ack) -> None:
        self._changed.discard(one.id)
        if isinstance(frame, wire.Welcome):
            one.greet, one.level = False, frame.level
            one.told = (frame.expected - 1, frame.written)
        else:
            one.told = (frame.durable, frame.written)

    def wants_news(self, one: Producer) -> None:
        self._changed.add(one.id)

    def lost_connection(self, one: Producer) -> None:
        self.connected -= one.identity is not None
        one.identity, one.greet = None, False

    def adopt(self, one: Producer, acked_through: int) -> None:
        """From now on its events come from its spool only."""
        self.lost_connection(one)
        one.adopting = True
        self._skip_to(one, acked_through)

    def _skip_to(self, one: Producer, acked_through: int) -> None:
        """Believe that an agent acked so far, e.g. one whose journal is lost: the producer has no more to give."""
        if acked_through >= one.next:
            one.next, one.durable = acked_through + 1, acked_through

    def seal(self, one: Producer) -> None:
        """From now on nothing is taken from it, and nobody waits for it."""
        if not one.sealed:
            one.sealed = True
            self.unsealed.discard(one.id)
            self.ending.discard(one.id)
            self._unsealed_of[one.run] -= 1
            if not self._unsealed_of[one.run]:
                del self._unsealed_of[one.run]

    def retire(self, one: Producer) -> None:
        del self._rows[one.id]
        for names in (self._changed, self._fresh, self._old):
            names.discard(one.id)

    def _add(self, one: Producer) -> None:
        self._rows[one.id] = one
        self.added += 1
        if not one.sealed:
            self.unsealed.add(one.id)
            self._unsealed_of[one.run] += 1
            if one.end:
                self.ending.add(one.id)
