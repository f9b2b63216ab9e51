"""Checksums that are right again after a mutation: what lies behind them is to be reached too."""

from __future__ import annotations

import struct
import zlib

import msgpack

_JOURNAL_RECORD = struct.Struct("<4sBBHQQ32sIIIII")
_JOURNAL_HEADER = struct.Struct("<6sHQII")


def records(data: bytes, start: int) -> bytes:
    """Mend the records of a spool from `start` on, as far as their lengths lead."""
    out, at = bytearray(data), start
    while at + 10 < len(out):
        length = int.from_bytes(out[at + 1 : at + 5])
        end = at + 10 + length
        if end > len(out):
            end = len(out)
            out[at + 1 : at + 5] = (end - at - 10).to_bytes(4)
        out[at], out[at + 5] = 0xCE, 0xCE
        out[at + 6 : at + 10] = zlib.crc32(out[at + 10 : end]).to_bytes(4)
        at = end
    return bytes(out)


def segment(data: bytes) -> bytes:
    if len(data) < 32:
        return data
    head = b"LFSP" + (1).to_bytes(4) + data[8:16]
    return records(head + zlib.crc32(head).to_bytes(4) + data[20:], 32)


def hello(data: bytes) -> bytes:
    return b"LFHL" + (1).to_bytes(4) + zlib.crc32(data[12:]).to_bytes(4) + data[12:]


def batch(header: bytes, payload: bytes) -> tuple[bytes, bytes]:
    """Mend a batch's header so that it fits the payload, where it is one at all."""
    payload = records(payload, 0)
    try:
        fields = msgpack.unpackb(header)
        count = min(fields[3], len(payload) // 16) if isinstance(fields[3], int) else fields[3]
        return msgpack.packb([1, fields[1], fields[2], count, zlib.crc32(payload)]), payload
    except Exception:
        return header, payload


def journal(data: bytes, segment_id: int) -> bytes:
    """Mend a journal's segment: its header, and each record from there on."""
    if len(data) < _JOURNAL_HEADER.size:
        return data
    *_, length, _ = _JOURNAL_HEADER.unpack_from(data)
    length = min(length, len(data) - _JOURNAL_HEADER.size)
    head = _JOURNAL_HEADER.pack(b"LFJSEG", 1, segment_id, length, 0)[:-4]
    at = _JOURNAL_HEADER.size + length
    meta = data[_JOURNAL_HEADER.size : at]
    out = bytearray(head + zlib.crc32(meta, zlib.crc32(head)).to_bytes(4, "little") + data[_JOURNAL_HEADER.size :])
    while at + _JOURNAL_RECORD.size <= len(out):
        _, kind, size, _, _, first, name, events, length, _, synced, _ = _JOURNAL_RECORD.unpack_from(out, at)
        begin = at + _JOURNAL_RECORD.size
        length = min(length, len(out) - begin)
        crc32 = zlib.crc32(out[begin : begin + length])
        position = segment_id << 32 | at
        fields = (b"LFJr", kind, size, 0, position, first, name, events, length, crc32, synced)
        head = _JOURNAL_RECORD.pack(*fields, 0)[:-4]
        out[at:begin] = head + zlib.crc32(head).to_bytes(4, "little")
        at = begin + length
    return bytes(out)
