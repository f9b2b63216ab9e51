"""One file of the journal: its bytes, and how they are read when some of them are bad.

Layout (version 1), little endian::

    segment = header record*
    header  = "LFJSEG" | version u16 | segment id u64 | meta length u32 | crc32 u32 | meta
              crc32: over all before it and over meta. meta: msgpack map {"ends": {segment id: valid end}, "ledger": …}
    record  = "LFJr" | kind u8 | name length u8 | zero u16 | position u64 | first u64 | producer 32 bytes, zero padded
              | events u32 | payload length u32 | payload crc32 u32 | synced u32 | crc32 u32 of all before | payload

* Position of a record: segment id << 32 | offset. It stands in the record itself, so that neither a stale block nor a
  payload that contains a journal's bytes is ever taken for a record.
* `kind` HELLO: payload is the producer's about map (msgpack). EVENTS: `events` spool records from number `first` on,
  as they came. AGENT: producer "agent", `first` its own number, payload msgpack
  {"producer": whom it concerns, "event": [time_ns, level, name, message, fields]}.
* `synced` is the offset known durable when the record was appended. A bad place that a later record's `synced` covers
  was durable once: that is damage. Any other bad place is the torn end of what nobody was told is durable.
* The header is synced before the first record is written. `ends` says where each earlier segment validly ends and
  `ledger` what the records before this segment say of each producer, so that opening reads the newest file only.

Invariants: no record crosses segments; bytes at or beyond a segment's valid end are never read; nothing is truncated.
Limits: an offset fits 32 bits; a payload is at most `MAX_PAYLOAD`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from logferry.wire import MAX_FRAME_BYTES

HELLO, EVENTS, AGENT = 1, 2, 3
KINDS = (HELLO, EVENTS, AGENT)
MAX_PAYLOAD = MAX_FRAME_BYTES
# A ledger of a hundred thousand producers; more is a length that cannot be true.
_MAX_META = 256 << 20
_MAGIC, VERSION = b"LFJSEG", 1
_PRESENT = _MAGIC + VERSION.to_bytes(2, "little")
_HEADER = struct.Struct("<6sHQII")
_RECORD = struct.Struct("<4sBBHQQ32sIIIII")
_RECORD_MAGIC = b"LFJr"
RECORD_BYTES = _RECORD.size
# How far one step of the search for the next whole record reads.
_STEP = 1 << 20

Pread = Callable[[int, int], bytes]


class Entry(NamedTuple):
    """What is to be appended; `crc32` is the payload's where somebody has computed it already."""

    kind: int
    producer: str
    first: int
    events: int
    payload: bytes
    crc32: int | None = None


class Record(NamedTuple):
    """A whole record as read back."""

    position: int
    end: int
    kind: int
    producer: str
    first: int
    events: int
    payload: bytes
    synced: int = 0


class Damage(NamedTuple):
    """A range that was durable once and cannot be read."""

    position: int
    end: int


class Header(NamedTuple):
    """What a segment's header says; `end` is the offset of the first record."""

    end: int
    ends: dict[int, int]
    ledger: dict[str, Any]


def position_of(segment: int, offset: int) -> int:
    return segment << 32 | offset


def offset_of(position: int) -> int:
    return position & 0xFFFFFFFF


def segment_of(position: int) -> int:
    return position >> 32


def encode_header(segment: int, ends: dict[int, int], ledger: dict[str, Any]) -> bytes:
    meta: bytes = msgpack.packb({"ends": ends, "ledger": ledger})
    crc32 = zlib.crc32(meta, zlib.crc32(_HEADER.pack(_MAGIC, VERSION, segment, len(meta), 0)[:-4]))
    return _HEADER.pack(_MAGIC, VERSION, segment, len(meta), crc32) + meta


def read_header(pread: Pread, segment: int) -> Header | None:
    """Return the header, or None where it does not hold."""
    fixed = pread(_HEADER.size, 0)
    if len(fixed) < _HEADER.size:
        return None
    magic, version, stated, length, crc32 = _HEADER.unpack(fixed)
    if (magic, version, stated) != (_MAGIC, VERSION, segment) or length > _MAX_META:
        return None
    meta = pread(length, _HEADER.size)
    if len(meta) < length or zlib.crc32(meta, zlib.crc32(fixed[:-4])) != crc32:
        return None
    try:
        known = msgpack.unpackb(meta, strict_map_key=False)
        return Header(_HEADER.size + length, dict(known["ends"]), known["ledger"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def later_version(pread: Pread, segment: int) -> int:
    """Return the version of a segment that a later logferry wrote; 0 where none did.

    Where the header holds as one of the present version, a bit of its version was changed: that is damage.
    """
    fixed = pread(_HEADER.size, 0)
    version = int.from_bytes(fixed[len(_MAGIC) : len(_PRESENT)], "little")
    if len(fixed) < _HEADER.size or not fixed.startswith(_MAGIC) or version <= VERSION:
        return 0

    def as_present(size: int, offset: int) -> bytes:
        data = pread(size, offset)
        return data if offset else _PRESENT + data[len(_PRESENT) :]

    return 0 if read_header(as_present, segment) else version


def encode_record(entry: Entry, position: int, synced: int) -> bytes:
    """Return the header of the record; the payload follows as it is."""
    name = entry.producer.encode()
    crc32 = zlib.crc32(entry.payload) if entry.crc32 is None else entry.crc32
    about = (entry.kind, len(name), 0, position, entry.first, name, entry.events, len(entry.payload), crc32, synced)
    head = _RECORD.pack(_RECORD_MAGIC, *about, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little")


class _Head(NamedTuple):
    kind: int
    producer: str
    first: int
    events: int
    length: int
    crc32: int
    synced: int


def _head(data: bytes, at: int, position: int) -> _Head | None:
    """Return the record header at `at`, or None where there is none for exactly this position."""
    if len(data) - at < RECORD_BYTES or not data.startswith(_RECORD_MAGIC, at):
        return None
    _, kind, size, _, stated, first, name, events, length, crc32, synced, own = _RECORD.unpack_from(data, at)
    if stated != position or zlib.crc32(data[at : at + RECORD_BYTES - 4]) != own:
        return None
    return _Head(kind, name[:size].decode("utf-8", "replace"), first, events, length, crc32, synced)


def read_records(pread: Pread, segment: int, start: int, end: int, limit: int) -> tuple[list[Record | Damage], int]:
    """Read whole records from offset `start` on, about `limit` bytes but at least one; return them and the next offset.

    Whatever is no whole record comes back as `Damage` up to the next one, or up to `end`.
    """
    out: list[Record | Damage] = []
    data, at = pread(min(limit, end - start), start), 0
    while start + at < end:
        offset = start + at
        head = _head(data, at, position_of(segment, offset))
        stop = RECORD_BYTES + (head.length if head else 0)
        if len(data) - at < stop and offset + stop <= end:
            if out:
                break
            data, start, at = _exactly(pread, stop, offset), offset, 0
            if len(data) == stop:
                continue
        if head is None or offset + stop > end or len(data) - at < stop:
            after = _next_record(pread, segment, offset + 1, end)
        else:
            after = offset + stop
            payload = data[at + RECORD_BYTES : at + stop]
            if zlib.crc32(payload) == head.crc32:
                where = position_of(segment, offset)
                out.append(
                    Record(where, where + stop, head.kind, head.producer, head.first, head.events, payload, head.synced)
                )
                at += stop
                continue
        out.append(Damage(position_of(segment, offset), position_of(segment, after)))
        return out, after
    return out, start + at


def _exactly(pread: Pread, size: int, offset: int) -> bytes:
    """Read `size` bytes; fewer only at the end of the file."""
    data = b""
    while len(data) < size:
        more = pread(size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _next_record(pread: Pread, segment: int, start: int, end: int) -> int:
    """Return the offset of the next record header at or behind `start`, or `end`."""
    while start < end:
        # Steps overlap by one header, so that none is missed on their border.
        data = pread(min(_STEP + RECORD_BYTES, end - start), start)
        at = data.find(_RECORD_MAGIC)
        while at >= 0:
            if _head(data, at, position_of(segment, start + at)):
                return start + at
            at = data.find(_RECORD_MAGIC, at + 1)
        start += max(1, min(_STEP, len(data)))
        if not data:
            break
    return end
