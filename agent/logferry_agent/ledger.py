"""What the journal's records say of each producer: the next number, who it is, how it ended.

A ledger is a function of the records that are durable, in their order. Each new segment begins with it, so that
opening the journal reads one file and not the backlog (see segment.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack

from logferry.events import END, SYSTEM
from logferry_agent.payload import event_bytes, record_end
from logferry_agent.segment import AGENT, EVENTS, HELLO, Entry, Record

AGENT_NAME = "agent"
SEAL = "logferry.seal"
# A traceback's beginning and more; of a forged end no more than that.
_MAX_TEXT, _MAX_KEYS = 8192, 8
_END = END.encode()
_EVENT = (int, int, str, str | None, dict)
# Without these nothing can be done for a producer.
_NEEDED = {"experiment_id": str, "run_id": str, "host": str, "spool": str, "pid": int}
_COMMON = ("experiment_id", "host", "home", "boot_id", "sdk", "cgroup")


@dataclass(slots=True)
class Row:
    """One producer: `end` holds the fields of its `logferry.end`, `last` the position of its last record."""

    next: int = 1
    about: dict[str, Any] | None = None
    sealed: bool = False
    end: dict[str, Any] | None = None
    last: int = 0


class Ledger:
    """Rows by producer, and the agent's own next number."""

    def __init__(self) -> None:
        self.agent_next = 1
        self.rows: dict[str, Row] = {}

    @classmethod
    def load(cls, dumped: Any) -> Ledger:
        """Return the ledger that `dump` described.

        Raises:
            ValueError: it described none.

        """
        found = cls()
        try:
            found.agent_next = dumped["agent"]
            found.rows = {producer: Row(*values) for producer, values in dumped["rows"].items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no ledger: {error}") from error
        if not isinstance(found.agent_next, int) or not all(map(_is_sound, found.rows.values())):
            raise ValueError("no ledger: a value is of a wrong type")
        for row in found.rows.values():
            row.about = row.about and _shared(row.about)
        return found

    def dump(self) -> dict[str, Any]:
        rows = {name: [row.next, row.about, row.sealed, row.end, row.last] for name, row in self.rows.items()}
        return {"agent": self.agent_next, "rows": rows}

    def apply(self, record: Record | Entry, position: int) -> None:
        """Take in one durable record that lies at `position`."""
        if record.kind == AGENT:
            self._agent(record, position)
            return
        row = self.rows.setdefault(record.producer, Row())
        row.last = position
        if record.kind == HELLO:
            row.about = about_of(record.payload) or row.about
        elif record.kind == EVENTS:
            row.next = record.first + record.events
            row.end = end_of(record.payload) or row.end

    def _agent(self, record: Record | Entry, position: int) -> None:
        self.agent_next = record.first + 1
        said = said_of(record.payload)
        row = self.rows.get(said.producer) if said else None
        if said and row is not None:
            row.last = position
            row.sealed = row.sealed or said.event[2] == SEAL


class Said(NamedTuple):
    """A record of the agent's own: whom it concerns, and `[time_ns, level, name, message, fields]`."""

    producer: str
    event: list[Any]


def said_of(payload: bytes) -> Said | None:
    """Return what a record of kind AGENT holds; None where its bytes are sound and nothing that this version knows."""
    found = _unpacked(payload)
    producer, event = (found.get("producer"), found.get("event")) if isinstance(found, dict) else (None, None)
    if not isinstance(producer, str) or not isinstance(event, list) or len(event) != len(_EVENT):
        return None
    return Said(producer, event) if all(map(isinstance, event, _EVENT)) else None


def about_of(payload: bytes) -> dict[str, Any] | None:
    """Return what a record of kind HELLO holds, None where that is nothing that this version knows."""
    found = _unpacked(payload)
    return _shared(found) if _is_about(found) else None


def _shared(about: dict[str, Any]) -> dict[str, Any]:
    """Return the same without texts that others hold too: a node's producers differ in few."""
    return about | {key: _kept(about[key]) for key in _COMMON if isinstance(about.get(key), str)}


@lru_cache(256)
def _kept(text: str) -> str:
    """Return the first of equal texts."""
    return text


def _is_about(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in _NEEDED.items())


def _unpacked(payload: bytes) -> Any:
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, TypeError, RecursionError):  # unhashable keys are TypeErrors
        return None


def _is_sound(row: Row) -> bool:
    known = row.about is None or _is_about(row.about)
    return known and isinstance(row.end, dict | None) and isinstance(row.next, int) and isinstance(row.last, int)


def end_of(payload: bytes) -> dict[str, Any] | None:
    """Return the fields of `logferry.end` where one of these spool records is one.

    It need not be the last: a process may log on while its interpreter is taken down.
    """
    found, position, mentioned = None, 0, payload.find(_END)
    while mentioned >= 0:
        end = record_end(payload, position)
        if not end:  # not ours to judge here: the writer marks it
            break
        if end > mentioned:
            event = _unpacked(event_bytes(payload, position, end))
            found = _known_end(event[4]) if _is_end(event) else found
            mentioned = payload.find(_END, end)
        position = end
    return found


def _is_end(event: Any) -> bool:
    return isinstance(event, list) and len(event) == 5 and event[1:3] == [SYSTEM, END] and isinstance(event[4], dict)


def _known_end(fields: dict[Any, Any]) -> dict[str, Any]:
    """Return what is used of an end. It stands in every segment's header: nothing large or deep may get there."""
    status, how = fields.get("status"), fields.get("exit")
    shown = {}
    for key, value in list(how.items())[:_MAX_KEYS] if isinstance(how, dict) else []:
        if isinstance(key, str) and _scalar(value) is not None:
            shown[key[:_MAX_TEXT]] = _scalar(value)
    known = {"status": status[:_MAX_TEXT] if isinstance(status, str) else None, "exit": shown or None}
    return known | ({"implied": True} if fields.get("implied") is True else {})


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MAX_TEXT]
    return value if isinstance(value, int | float) else None
