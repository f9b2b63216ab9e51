"""Frames on their way through the receiver, the producers and the rendering; only the socket is not there."""

from __future__ import annotations

import asyncio
from typing import Any

from logferry import wire
from logferry_agent.exits import Exits
from logferry_agent.journal import EVENTS, Entry, Record
from logferry_agent.ledger import Ledger
from logferry_agent.producers import Producers
from logferry_agent.receiver import Hooks, Receiver
from logferry_agent.state import Key
from mutation import join, split
from real import real
from targets import checksums, rendering

_KINDS = [b"hello", b"batch", b"flush", b"ask", b"welcome", b"ack", b"nack", b"who", b"level", b"answer"]
MEND = 1


class KeptJournal:
    """A journal that keeps in memory what is appended, and is durable at once when told."""

    def __init__(self) -> None:
        self.queued_bytes, self.held = 0, None
        self.entries: list[Entry] = []

    def append(self, entries: list[Entry]) -> None:
        self.entries += entries


class Ears(Receiver):
    """A receiver whose frames to others are kept."""

    def __init__(self) -> None:
        async def answer(verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return {"verb": verb, **arguments}

        self.exits = Exits()
        hooks = Hooks(lambda run: run[1] == "full", lambda *_: None, lambda *_: None, answer, self._met)
        super().__init__("ipc:///nowhere", Producers(Ledger()), KeptJournal(), hooks)
        self._loop = asyncio.new_event_loop()
        self.sent: list[wire.Frame] = []
        self._closing = True  # there is nothing to read

    def _met(self, producer: str, about: dict[str, Any]) -> None:
        self.exits.watch(producer, about)

    def begin(self) -> KeptJournal:
        self._producers, journal = Producers(Ledger()), KeptJournal()
        self._journal: Any = journal
        self.sent.clear()
        self.exits.close()
        self.exits = Exits()
        return journal

    def _send(self, identity: bytes, frame: wire.Frame) -> bool | None:
        assert wire.decode(wire.encode(frame)) == frame
        self.sent.append(frame)
        return True

    def answer_all(self) -> None:
        if self._questions:
            self._loop.run_until_complete(asyncio.gather(*self._questions))


EARS = Ears()


def seeds() -> list[bytes]:
    frames = real().frames
    whole = [_part(number, frame) for number, frame in enumerate(frames) if frame[0] in _KINDS]
    found = [join(flags, whole[start : start + 6]) for flags in (0, MEND) for start in range(0, len(whole) - 2, 3)]
    said = [wire.Welcome("aaaaaaaa", 1, None, 1 << 20, 0), wire.Ack("aaaaaaaa", 1, 1), wire.Nack("aaaaaaaa", 1, "full")]
    return [*found, join(MEND, [_part(0, wire.encode(frame)) for frame in said])]


def _part(_: int, frame: list[bytes]) -> tuple[int, bytes]:
    kind, header, payload = frame
    return _KINDS.index(kind), len(header).to_bytes(2) + header + payload


def check(data: bytes) -> None:
    flags, parts = split(data)
    journal, seen = EARS.begin(), 0
    durable: dict[str, int] = {}
    for number, (kind, body) in enumerate(parts):
        EARS._handle(b"one" if kind < 128 else b"two", _frame(kind, body, mend=bool(flags & MEND)))
        if not (flags & 2 and number % 2):  # some groups are of two
            new, seen = journal.entries[seen:], len(journal.entries)
            for entry in new:
                if entry.kind == EVENTS:
                    durable[entry.producer] = entry.first + entry.events - 1
            EARS.take_durable(new)
        _nothing_is_invented(durable)
    EARS.answer_all()
    for one in EARS._producers:
        EARS.exits.how(one.about)
    _next_follows_next(journal.entries)
    _rendered(journal.entries)


def _frame(kind: int, body: bytes, *, mend: bool) -> list[bytes]:
    size = int.from_bytes(body[:2])
    name, header, payload = _KINDS[kind % len(_KINDS)], body[2 : 2 + size], body[2 + size :]
    if mend and name == b"batch":
        header, payload = checksums.batch(header, payload)
    if kind == 127:
        return [name, header]
    return [name, header, payload]


def _nothing_is_invented(durable: dict[str, int]) -> None:
    for frame in EARS.sent:
        if isinstance(frame, wire.Ack | wire.Welcome):
            one = EARS._producers.get(frame.producer)
            assert one is not None
            through = frame.durable if isinstance(frame, wire.Ack) else frame.expected - 1
            # what a hello says was acked before, by an agent that is gone, is believed
            assert through <= max(durable.get(frame.producer, 0), one.durable), frame
    EARS.sent.clear()


def _next_follows_next(entries: list[Entry]) -> None:
    last: dict[str, int] = {}
    for entry in entries:
        if entry.kind == EVENTS:
            assert entry.first > last.get(entry.producer, 0), entry
            last[entry.producer] = entry.first + entry.events - 1


def _rendered(entries: list[Entry]) -> None:
    records = [
        Record(number, number + 1, one.kind, one.producer, one.first, one.events, one.payload)
        for number, one in enumerate(entries)
    ]
    runs = {name: one.run for one in EARS._producers if (name := one.id)}
    for run in set(runs.values()):
        rendering.check([record for record in records if runs[record.producer] == run], Key(*run, "jsonl"))
    for record in records:
        if record.kind == EVENTS:
            rendering.both_ways_agree(record.producer, record.first, record.events, record.payload)
