"""Events as lines of the running log: what is in the journal goes in, bytes come out.

A line is one JSON object and a line feed: `time` (UTC, RFC 3339, microseconds), `level`, `event`, `message` (when
there is one), the fields, and last `seq`, `<producer>-<number>`; whoever looks for the number finds it from the end.
Fields whose names the line uses itself stand under `extra`. NaN and infinities are strings, never null.

Promises: bytes are a function of the journal record alone, so that a replay writes the same ones. Every number of a
record gives exactly one line, or is counted in one `logferry.gap` line (`lost` numbers from `first` on). Nothing
raises, whatever a producer sent: what cannot be decoded is a gap line `malformed`, its bytes are handed back.

Two ways lead to the same bytes, where records are as long as they say. The fast one takes a whole payload in few
steps per event and gives up as soon as anything is unusual; then it tries a few records at a time, and the slow one
takes record by record those among which something is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import orjson

from logferry.events import CLIPPED, END, GAP, RESERVED_FIELDS, RESULT, SYSTEM, SYSTEM_PREFIX, level_name, plain
from logferry.events import plain_key as plain_name
from logferry.results import finite
from logferry_agent.payload import event_bytes, record_end, records_end

_SECOND = 1_000_000_000
# No time lies in the second that begins here.
_NEVER = 1 << 80
_UNUSUAL = RESERVED_FIELDS | {CLIPPED}
_OWN_NAMES = {RESULT: "INFO", END: "INFO", GAP: "WARNING"}
_NEWLINE = orjson.OPT_APPEND_NEWLINE
_SYSTEM_NAME = SYSTEM_PREFIX.encode()
_BETWEEN = orjson.Fragment(b"\n")
_THOUSAND = [b"%03d" % number for number in range(1000)]
# A float64 or float32 in msgpack whose exponent is all ones; also found by chance inside other values.
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|\xca[\x7f\xff][\x80-\xff]")
# A run's first and last event are unusual, and a short run's are in each of its payloads. So many records are taken
# the slow way because of one; fewer would cost more in tries than they save.
_FEW = 32
# Beginnings of lines by level, name and message-less form; programs use few names, hostile ones must not fill memory.
_MAX_HEADS = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rendered(NamedTuple):
    """Lines of one record of the journal, and what passed by on the way."""

    data: bytes
    lines: int  # lines that carry an event, without those of gaps
    time_ns: int  # of the last event
    documents: Sequence[dict[str, Any]] = ()  # result documents
    bad: Sequence[bytes] = ()  # what could not be decoded


class _Unusual(Exception):  # noqa: N818 - not an error: the slow path takes over
    """The payload holds something that the fast path does not know."""


class LineMaker:
    """Renders records; remembers what many lines have in common."""

    def __init__(self) -> None:
        self._heads: dict[tuple[int, str], bytes] = {}

    def events(self, producer: str, first: int, events: int, payload: bytes, after: int = 0) -> Rendered:
        """Render the events `first … first + events - 1` of `producer` that are numbered above `after`."""
        if first <= after:
            return _slow(producer, first, events, payload, after)
        # Where logferry's own names are, something is unusual: to try all the same would take half as long again.
        whole = None if _SYSTEM_NAME in payload else self._whole(producer, first, events, payload)
        return whole or self._by_few(producer, first, events, payload)

    def _whole(self, producer: str, first: int, events: int, payload: bytes) -> Rendered | None:
        try:
            return self._fast(f"{producer}-", first, events, payload)
        except Exception:  # whatever it is, the slow path finds out which event it concerns
            return None

    def _by_few(self, producer: str, first: int, events: int, payload: bytes) -> Rendered:
        found: list[Rendered] = []
        number, end, position, time_ns = first, first + events, 0, 0
        while number < end or not found:  # a damaged record of the journal may say that it has none
            stop = records_end(payload, position, _FEW) if end - number > _FEW else 0
            if stop:
                few, raw = _FEW, payload[position:stop]
                one = self._whole(producer, number, few, raw)
            else:  # the last ones, with whatever lies behind them
                few, raw, one = end - number, payload[position:], None
            found.append(one or _slow(producer, number, few, raw, 0, time_ns))
            number, position, time_ns = number + few, stop, math.floor(found[-1].time_ns)
        return _joined(found)

    def _fast(self, tag: str, first: int, events: int, payload: bytes) -> Rendered:
        # Everything as one array in, all fields as one array out: a call for each event costs more than its work.
        found = msgpack.unpackb(b"\xdd%b%b" % ((3 * events).to_bytes(4), payload))[2::3]
        heads, micros, start, time_ns, prefix = self._heads, _THOUSAND, _NEVER, 0, b""
        all_fields: list[dict[str, Any]] = []
        parts: list[bytes] = []
        for time_ns, level, event, message, fields in found:
            past = time_ns - start
            if not 0 <= past < _SECOND:
                start, past = time_ns - time_ns % _SECOND, time_ns % _SECOND
                prefix = b'{"time":"%b.' % _second(start).encode()
            past //= 1000
            head = heads.get((level, event)) or self._head(level, event)
            if message is not None:
                head = b'%b"message":%b,' % (head, orjson.dumps(_text(message)))
            all_fields.append(fields)
            parts += prefix, micros[past // 1000], micros[past % 1000], head if fields else head[:-1], b"", b""
        if {*map(type, all_fields)} != {dict} or not all(map(_UNUSUAL.isdisjoint, all_fields)):
            raise _Unusual
        # Compact JSON has no line feed of its own, so the fragments show where one event's fields end.
        between: list[Any] = [_BETWEEN] * (2 * events - 1)
        between[::2] = all_fields
        data = orjson.dumps(between)[2:-2]
        # orjson writes NaN as null; the search in the payload is only worth it where a null came out.
        if b"null" in data and _NOT_FINITE.search(payload):
            raise _Unusual
        seq = b',"seq":%b%%d"}\n' % orjson.dumps(tag)[:-1].replace(b"%", b"%%")
        parts[4::6] = data.split(b"},\n,{")
        parts[5::6] = map(seq.__mod__, range(first, first + events))
        return Rendered(b"".join(parts), events, time_ns)

    def _head(self, level: Any, event: Any) -> bytes:
        if type(level) is not int or level <= SYSTEM or type(event) is not str:
            raise _Unusual
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        name = _users_name(event)
        head = b'Z","level":"%b","event":%b,' % (level_name(level).encode(), orjson.dumps(name))
        self._heads[level, event] = head
        return head


def agent_line(number: int, event: Any) -> Rendered:
    """Render one of the agent's own events: a seal, or a gap marker."""
    seq = f"agent-{number}"
    try:
        time_ns, level, name, message, fields = event
        data = _line(time_ns, level_name(level), name, message, fields, seq)
    except Exception:  # the journal's bytes are intact, so this is a record of another version
        return Rendered(_gap_line(0, seq, {"cause": "malformed"}), 0, 0)
    return Rendered(data, 1, time_ns)


def gap_line(payload: bytes, producer: str, first: int, last: int, cause: str) -> bytes:
    """Render the marker for numbers that the journal does not have, with the time of the event that comes next."""
    fields = {"producer": producer, "cause": cause, "first": first, "lost": last - first + 1}
    return _gap_line(_first_time(payload), f"{producer}-{last}", fields)


def time_text(time_ns: int) -> str:
    """Return a time as lines carry it."""
    return f"{_second(time_ns - time_ns % _SECOND)}.{time_ns % _SECOND // 1000:06d}Z"


# The events of a moment come from many producers, each with a few seconds of its own.
@lru_cache(maxsize=64)
def _second(time_ns: int) -> str:
    return (_EPOCH + timedelta(seconds=time_ns // _SECOND)).strftime("%Y-%m-%dT%H:%M:%S")


def _text(message: Any) -> str:
    if type(message) is not str:
        raise _Unusual
    return message


def _users_name(name: str) -> str:
    return f"_{name}" if name.startswith(SYSTEM_PREFIX) else name


def _joined(parts: list[Rendered]) -> Rendered:
    return Rendered(
        b"".join(part.data for part in parts),
        sum(part.lines for part in parts),
        parts[-1].time_ns,
        [document for part in parts for document in part.documents],
        [data for part in parts for data in part.bad],
    )


def _slow(producer: str, first: int, events: int, payload: bytes, after: int, time_ns: int = 0) -> Rendered:
    """Render record by record; `time_ns` is that of the event before, for what has no time of its own."""
    lines: list[bytes] = []
    bad: list[bytes] = []
    documents: list[dict[str, Any]] = []
    position, rendered = 0, 0
    end = first + events
    for number in range(first, end):
        stop = record_end(payload, position)
        if not stop:  # where the next record begins is not known: the rest is one gap
            start = max(number, after + 1)
            lines.append(_malformed(time_ns, producer, start, end - 1))
            bad.append(payload[position:])
            break
        raw, position = event_bytes(payload, position, stop), stop
        if number <= after:
            continue
        try:
            line, time_ns = _one(raw, f"{producer}-{number}", documents)
            rendered += 1
        except Exception:  # input is untrusted: any failure to decode is the same outcome
            line = _malformed(time_ns, producer, number, number)
            bad.append(raw)
        lines.append(line)
    else:
        if position < len(payload):  # more than was announced: it has no numbers, so it is no event
            bad.append(payload[position:])
    return Rendered(b"".join(lines), rendered, time_ns, documents, bad)


def _first_time(payload: bytes) -> int:
    try:
        raw = event_bytes(payload, 0, record_end(payload, 0))
        time_ns = msgpack.unpackb(raw, strict_map_key=False, unicode_errors="backslashreplace")[0]
        time_text(time_ns)
    except Exception:  # a marker without a time is better than none
        return 0
    return int(time_ns)


def _one(raw: bytes, seq: str, documents: list[dict[str, Any]]) -> tuple[bytes, int]:
    event = msgpack.unpackb(raw, strict_map_key=False, unicode_errors="backslashreplace")
    time_ns, level, name, message, fields = event
    if not isinstance(fields, dict):
        raise ValueError("not an event")  # noqa: TRY004 - its caller knows one kind
    # Some packers write a whole number as a float; the fast way takes it as well.
    time_ns, level, name = math.floor(time_ns), math.floor(level), plain_name(name)
    if level == SYSTEM and name in _OWN_NAMES:
        if name == RESULT:
            documents.append(plain(fields)[0])
        if name == GAP:  # ranges of numbers are the agent's to mark
            fields = {key: fields[key] for key in ("shed", "cause") if key in fields}
        return _line(time_ns, _OWN_NAMES[name], name, message, fields, seq), time_ns
    return _line(time_ns, level_name(level), _users_name(name), message, fields, seq), time_ns


def _line(time_ns: int, level: str, name: str, message: Any, fields: dict[Any, Any], seq: str) -> bytes:
    line: dict[str, Any] = {"time": time_text(time_ns), "level": level, "event": name}
    if message is not None:
        line["message"] = message if isinstance(message, str) else str(plain(message)[0])
    try:
        return orjson.dumps({**line, **_fields(finite(fields)), "seq": seq}, option=_NEWLINE)
    except (TypeError, RecursionError):  # keys that are no strings, bytes, nesting too deep for JSON
        return orjson.dumps({**line, **_fields(finite(_plain_fields(fields))), "seq": seq}, option=_NEWLINE)


def _plain_fields(fields: dict[Any, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    clipped: list[Any] = []
    for key, value in fields.items():
        shown = plain_name(key)
        while shown in kept:  # 1 and "1" are two keys; neither may swallow the other
            shown += "~"
        kept[shown], cut = plain(value)
        clipped += [shown] if cut else []
    if clipped:
        kept[CLIPPED] = [*clipped, *(kept[CLIPPED] if isinstance(kept.get(CLIPPED), list) else [])]
    return kept


def _fields(fields: dict[Any, Any]) -> dict[Any, Any]:
    extra = {key: fields[key] for key in fields if key in RESERVED_FIELDS}
    if CLIPPED in fields:
        extra["clipped"] = fields[CLIPPED]
    if not extra:
        return fields
    return {**{key: item for key, item in fields.items() if key not in _UNUSUAL}, "extra": extra}


def _malformed(time_ns: int, producer: str, first: int, last: int) -> bytes:
    fields = {"producer": producer, "cause": "malformed", "first": first, "lost": last - first + 1}
    return _gap_line(time_ns, f"{producer}-{last}", fields)


def _gap_line(time_ns: int, seq: str, fields: dict[str, Any]) -> bytes:
    return _line(time_ns, "WARNING", GAP, None, fields, seq)
