"""Frames between producers, the agent and the command line: one ZeroMQ multipart message each.

Layout (version 1)::

    message = [kind, header, payload]        kind: ASCII; header: one msgpack array whose first element is the
                                             version; payload: bytes, empty unless stated

    producer → agent (DEALER → ROUTER)
      hello  [1, producer, acked_through, about]      about: map, what is constant for the producer (see `About`)
      batch  [1, producer, first, count, crc32]       payload: `count` spool records as they lie (see spool.py);
                                                      crc32 is over the payload; events are numbered from 1
      flush  [1, producer, written]                   somebody waits until what was shipped is durable, to be told at
                                                      once, or (true) written: asks for a checkpoint of the run's files
    agent → producer
      welcome [1, producer, expected, level, window, written]   answer to hello: the number after the last that is
                                                      durable (what comes again is acked again; whoever was answered
                                                      before takes it as an ack), level in force or nil, bytes that
                                                      may be unacked, number written through
      ack    [1, producer, durable, written]          cumulative event numbers
      nack   [1, producer, expected, reason]          go back to `expected`; reason "expected" | "full" | "malformed"
      who    [1, producer]                            a batch came from an unknown producer: say hello
      level  [1, producer, level]                     new least level; nil: the producer's own
    command line ↔ agent
      ask    [1, verb, arguments]                     verb: str, arguments: map
      answer [1, arguments]                           arguments: map

A producer without anything to say for minutes may rest: it opens `rouse_path`, says hello once more, and disconnects
after the welcome if the FIFO is still held open. From then on whatever it would have been told makes that hang up, and
a hang-up, like an event of its own, has it connect again. So each level is told by the welcome, or after it.

Invariants: a payload is at most `MAX_PAYLOAD_BYTES`, except to hold one whole event; a header at most
`MAX_HEADER_BYTES`, but for an answer, which may list thousands of producers; `count` is between 1 and
`MAX_COUNT` and never more than payload bytes / 16, the least size of a record. Input is untrusted: whatever does
not fit is returned as `Bad` with one of the reasons below, never raised.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgpack

from logferry.events import MAX_COUNT

VERSION = 1
MAX_PAYLOAD_BYTES = 1 << 20
# One event of 1 MiB, its record header, and the rest of a window around it.
MAX_FRAME_BYTES = 2 * MAX_PAYLOAD_BYTES
MAX_HEADER_BYTES = 64 << 10
MIN_RECORD_BYTES = 16
WINDOW_BYTES = 1 << 20
ALL_WINDOWS_BYTES = 32 << 20
MAX_PRODUCER_ID_BYTES = 32

BAD_REASONS = ("parts", "kind", "version", "header", "size", "count", "checksum")


class Hello(NamedTuple):
    """A producer binds itself to its connection."""

    producer: str
    acked_through: int
    about: dict[str, Any]


class Batch(NamedTuple):
    """Consecutive events `first … first + events - 1`; `payload` is verified against `crc32` by `decode`."""

    producer: str
    first: int
    events: int
    crc32: int
    payload: bytes


class Flush(NamedTuple):
    producer: str
    written: bool = True


class Welcome(NamedTuple):
    producer: str
    expected: int
    level: int | None
    window: int
    written: int


class Ack(NamedTuple):
    producer: str
    durable: int
    written: int


class Nack(NamedTuple):
    producer: str
    expected: int
    reason: str


class Who(NamedTuple):
    producer: str


class Level(NamedTuple):
    producer: str
    level: int | None


class Ask(NamedTuple):
    verb: str
    arguments: dict[str, Any]


class Answer(NamedTuple):
    arguments: dict[str, Any]


class Bad(NamedTuple):
    """A message that does not follow the format: `reason` is one of `BAD_REASONS`."""

    reason: str
    detail: str


Frame: TypeAlias = Hello | Batch | Flush | Welcome | Ack | Nack | Who | Level | Ask | Answer

_FORMS: dict[bytes, tuple[type[Any], tuple[Any, ...]]] = {
    b"hello": (Hello, (str, int, dict)),
    b"batch": (Batch, (str, int, int, int)),
    b"flush": (Flush, (str, bool)),
    b"welcome": (Welcome, (str, int, (int, type(None)), int, int)),
    b"ack": (Ack, (str, int, int)),
    b"nack": (Nack, (str, int, str)),
    b"who": (Who, (str,)),
    b"level": (Level, (str, (int, type(None)))),
    b"ask": (Ask, (str, dict)),
    b"answer": (Answer, (dict,)),
}
_KINDS = {form: kind for kind, (form, _) in _FORMS.items()}
_TOO_LARGE = 1 << 63
# All types that the fields of a header may have, its version's first: one question for the whole of it.
_SHAPES = {
    kind: set(product((int,), *(one if isinstance(one, tuple) else (one,) for one in types)))
    for kind, (_, types) in _FORMS.items()
}


# As jobs say it whose version knows no other wait.
_SHAPES[b"flush"].add((int, str))


def rouse_path(address: str) -> Path:
    """Return where the FIFO lies that an agent at `address` holds open, and that hangs up to wake who rests."""
    return Path(address.removeprefix("ipc://")).with_suffix(".rouse")


def window(producers: int) -> int:
    """Return how many bytes each of `producers` may have on their way unacked."""
    return min(WINDOW_BYTES, ALL_WINDOWS_BYTES // max(1, producers))


def encode(frame: Frame) -> list[bytes]:
    """Return the parts of the message that carries `frame`."""
    if isinstance(frame, Batch):
        return [b"batch", msgpack.packb([VERSION, *frame[:4]]), frame.payload]
    return [_KINDS[type(frame)], msgpack.packb([VERSION, *frame]), b""]


def decode(parts: Sequence[bytes]) -> Frame | Bad:
    """Return the frame that the parts of one message carry, or why they carry none.

    Parts before the last three (a ROUTER's identity) are the caller's to take off.
    """
    if len(parts) != 3:
        return Bad("parts", f"{len(parts)} parts instead of 3")
    kind, header, payload = parts
    form, _ = _FORMS.get(kind, (None, ()))
    if form is None:
        return Bad("kind", f"unknown kind {kind[:16]!r}")
    if len(header) > (MAX_FRAME_BYTES if kind == b"answer" else MAX_HEADER_BYTES) or len(payload) > MAX_FRAME_BYTES:
        return Bad("size", f"header of {len(header)} bytes, payload of {len(payload)}")
    try:
        fields = msgpack.unpackb(header, strict_map_key=True)
    except (ValueError, TypeError, RecursionError) as error:  # msgpack's own errors are ValueErrors
        return Bad("header", f"not msgpack: {type(error).__name__}")
    if not isinstance(fields, list) or not fields or fields[0] != VERSION or isinstance(fields[0], bool):
        return Bad("version", f"version {str(fields[:1])[:40] if isinstance(fields, list) else '?'}; known: {VERSION}")
    fault = _fault(kind, fields)
    if fault:
        return Bad("header", f"{kind.decode()}: {fault}")
    return _batch(fields, payload) if form is Batch else form(*fields[1:])


def _fault(kind: bytes, fields: list[Any]) -> str:
    shape = tuple(map(type, fields))
    if shape not in _SHAPES[kind]:
        return f"{len(shape)} fields: {', '.join(found.__name__ for found in shape[:8])}"
    for value in fields:
        if type(value) is int and not 0 <= value < _TOO_LARGE:
            return f"{value} is out of range"
    if shape[1] is str and len(fields[1].encode(errors="replace")) > MAX_PRODUCER_ID_BYTES:
        return "name is too long"
    return ""


def _batch(fields: list[Any], payload: bytes) -> Batch | Bad:
    _, producer, first, count, crc32 = fields
    if not 0 < count <= MAX_COUNT or count * MIN_RECORD_BYTES > len(payload) or first < 1:
        return Bad("count", f"{count} events from {first} in {len(payload)} bytes")
    if zlib.crc32(payload) != crc32:
        return Bad("checksum", f"events {first} to {first + count - 1} of {producer!r}")
    return Batch(producer, first, count, crc32, payload)
