"""Records of the journal, in order, as the next bytes of one output, and what else follows from them. No I/O.

Numbers of a producer are consecutive in an output: a record that holds only numbers which are there already gives
nothing, and a jump upwards gives a gap marker exactly there. What comes out depends on the records and on the cursors
before them alone, so that a replay from a checkpoint writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from logferry.events import GAP, level_number
from logferry.results import validate
from logferry_agent.filters import Filters
from logferry_agent.ledger import AGENT_NAME, SEAL, said_of
from logferry_agent.lines import LineMaker, agent_line, gap_line
from logferry_agent.segment import AGENT, EVENTS, Record
from logferry_agent.state import Cursor, Key, newest
from logferry_agent.text import text_line

_NOTHING = Cursor(0, 0)
# About a millisecond; a record is as much work as so many bytes more.
_WORK_BYTES, _RECORD_BYTES = 32 << 10, 1 << 10
# A larger attempt or revision would win for ever.
_MAX_COUNT = 1 << 31


@dataclass(slots=True)
class Chunk:
    """What some records amount to.

    `cursors` are those that moved; `ended` the producers whose seal is among the records; `bad` what could not be
    decoded, by a name for it.
    """

    data: bytes = b""
    cursors: dict[str, Cursor] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    document: dict[str, Any] | None = None
    seals: dict[str, dict[str, Any]] = field(default_factory=dict)
    sealed_ns: int = 0
    bad: dict[str, bytes] = field(default_factory=dict)


class Renderer:
    """Makes chunks of JSON lines or text."""

    def __init__(self, filters: Filters) -> None:
        self.filters = filters
        self._lines = LineMaker()
        self._work = 0

    def render(self, key: Key, records: Iterable[Record], cursors: Mapping[str, Cursor]) -> Chunk:
        """Render records for an output that stands at `cursors`."""
        chunk = Chunk()
        for _ in self.steps(key, records, cursors, chunk):
            pass
        return chunk

    def steps(self, key: Key, records: Iterable[Record], cursors: Mapping[str, Cursor], chunk: Chunk) -> Iterator[None]:
        """Render into `chunk`; yield after so much work for whichever outputs, so that others may get their turn."""
        parts: list[bytes] = []
        for record in records:
            if record.kind == EVENTS:
                self._events(key, record, cursors, chunk, parts)
                self._work += _RECORD_BYTES + len(record.payload)
                if self._work > _WORK_BYTES:
                    self._work = 0
                    yield
            elif record.kind == AGENT:
                _agent(record, cursors, chunk, parts)
        chunk.data = b"".join(parts)
        if key.kind == "text":
            chunk.data = self._as_text(chunk.data)

    def _events(
        self, key: Key, record: Record, cursors: Mapping[str, Cursor], chunk: Chunk, parts: list[bytes]
    ) -> None:
        producer, first = record.producer, record.first
        last, lines = chunk.cursors.get(producer) or cursors.get(producer) or _NOTHING
        end = first + record.events - 1
        if end <= last:
            return
        if first > last + 1:
            parts.append(gap_line(record.payload, producer, last + 1, first - 1, "missing"))
        rendered = self._lines.events(producer, first, record.events, record.payload, last)
        parts.append(rendered.data)
        for document in rendered.documents:
            if is_of_run(document, key):
                chunk.document = newest(chunk.document, document)
        if rendered.bad:
            chunk.bad[f"{record.position:016x}-{producer}"] = b"".join(rendered.bad)
        chunk.cursors[producer] = Cursor(end, lines + rendered.lines)

    def _as_text(self, data: bytes) -> bytes:
        lines = map(orjson.loads, data.splitlines())
        kept = (line for line in lines if self.filters.in_text(line["event"], level_number(line["level"])))
        return "".join(f"{text_line(line)}\n" for line in kept).encode()


def is_of_run(document: dict[str, Any], key: Key) -> bool:
    """Say whether a document that a producer sent may be its run's result; input is untrusted."""
    counts = [document.get(name, 0) for name in ("attempt", "revision")]
    return (
        not validate(document)
        and (document.get("experiment_id"), document.get("run_id")) == key[:2]
        and all(isinstance(count, int) and 0 <= count < _MAX_COUNT for count in counts)
    )


def _agent(record: Record, cursors: Mapping[str, Cursor], chunk: Chunk, parts: list[bytes]) -> None:
    if record.first <= (chunk.cursors.get(AGENT_NAME) or cursors.get(AGENT_NAME) or _NOTHING).last:
        return
    chunk.cursors[AGENT_NAME] = Cursor(record.first, 0)
    said = said_of(record.payload)
    if said is None:
        chunk.bad[f"{record.position:016x}-{AGENT_NAME}"] = record.payload
        return
    producer, (time_ns, level, name, message, fields) = said
    before = chunk.cursors.get(producer) or cursors.get(producer) or _NOTHING
    if name == SEAL:
        sealed = fields.get("producer", producer)
        fields = {**fields, "written": (chunk.cursors.get(sealed) or cursors.get(sealed) or before).lines}
        chunk.seals[sealed] = {**fields, "time_ns": time_ns}
        chunk.sealed_ns = max(chunk.sealed_ns, time_ns)
        chunk.ended.append(sealed)
    elif name == GAP and isinstance(fields.get("first"), int):
        if fields["first"] <= before.last:  # marked already: it was found again by an adoption that began anew
            return
        last = fields["first"] + (fields.get("lost") or 0) - 1
        chunk.cursors[producer] = Cursor(max(before.last, last), before.lines)
    parts.append(agent_line(record.first, [time_ns, level, name, message, fields]).data)
