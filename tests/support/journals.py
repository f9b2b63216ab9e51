"""Journals for tests: entries, opening, and what can be read back."""

from __future__ import annotations

import queue
import struct
import zlib
from pathlib import Path
from typing import Any

import msgpack

from logferry_agent.fs import FileSystem
from logferry_agent.journal import AGENT, EVENTS, HELLO, Damage, Entry, Journal, Record

ABOUT = {
    "experiment_id": "exp",
    "run_id": "run",
    "host": "here",
    "pid": 1,
    "owner": True,
    "spool": "file",
    "home": "/h",
}


def spool_records(*events: list[Any]) -> bytes:
    packed = [msgpack.packb(event) for event in events]
    return b"".join(struct.pack(">BIBI", 0xCE, len(event), 0xCE, zlib.crc32(event)) + event for event in packed)


def events(producer: str, first: int, count: int = 1, size: int = 8) -> Entry:
    records = [[first + number, 20, "E", None, {"x": "x" * size}] for number in range(count)]
    return Entry(EVENTS, producer, first, count, spool_records(*records))


def hello(producer: str, **about: Any) -> Entry:
    return Entry(HELLO, producer, 0, 0, msgpack.packb(ABOUT | about))


def agent_event(number: int, producer: str, name: str = "logferry.seal", **fields: Any) -> Entry:
    return Entry(AGENT, "agent", number, 1, msgpack.packb({"producer": producer, "event": [0, 20, name, None, fields]}))


class Opened:
    """A journal with its thread running, and a queue of what it said to be durable."""

    def __init__(self, directory: Path, fs: FileSystem | None = None, **options: Any) -> None:
        self.acked: queue.Queue[tuple[list[Entry], int]] = queue.Queue()
        self.journal = Journal(
            directory, fs or FileSystem(), lambda *said: self.acked.put(said), lambda: 7, **{"retry_s": 0.005} | options
        )
        self.journal.start()

    def commit(self, *entries: Entry) -> list[Entry]:
        """Append and wait until all of it is durable."""
        self.journal.append(entries)
        done: list[Entry] = []
        while len(done) < len(entries):
            done += self.acked.get(timeout=30)[0]
        return done


class Stepped:
    """A journal whose thread is the caller, so that all can be repeated; `acked` is what it said to be durable."""

    def __init__(self, directory: Path, fs: FileSystem, segment_bytes: int = 700) -> None:
        self.acked: list[Entry] = []
        self.journal = Journal(directory, fs, lambda new, _: self.acked.extend(new), lambda: 7, segment_bytes)
        self.journal._stopping = True  # then its loop ends with its queue, or at the first failure

    def commit(self, *entries: Entry) -> bool:
        """Append entries and try once; say whether all that was appended so far is durable."""
        self.journal.append(entries)
        self.journal._run()
        return not self.journal._queue


def everything(journal: Journal, position: int = 0, limit: int = 1 << 20) -> list[Record | Damage]:
    found: list[Record | Damage] = []
    while True:
        items, after = journal.read(position, limit)
        if not items:
            return found
        assert after > position
        found, position = found + items, after


def entries(journal: Journal) -> list[Entry]:
    return [Entry(*item[2:7]) for item in everything(journal) if isinstance(item, Record)]
