"""The payload of a batch: records one after the other, as they lie in the spool.

    record = 0xce length:u32 0xce crc32:u32 event          each length a msgpack uint32, big endian

Input is untrusted: a record that is not there, or not all of it, ends at 0.
"""

from __future__ import annotations

import struct

RECORD_HEAD = 10
_UINT32 = 0xCE
_head_at = struct.Struct(">BIBI").unpack_from


def record_end(payload: bytes, position: int) -> int:
    """Return where the record at `position` ends, 0 if there is none."""
    if len(payload) < position + RECORD_HEAD:
        return 0
    length_mark, length, crc32_mark, _ = _head_at(payload, position)
    end: int = position + RECORD_HEAD + length
    return end if length_mark == crc32_mark == _UINT32 and end <= len(payload) else 0


def records_end(payload: bytes, position: int, records: int) -> int:
    """Return where so many records from `position` on end, 0 if they are not all there."""
    for _ in range(records):
        position = record_end(payload, position)
        if not position:
            return 0
    return position


def event_bytes(payload: bytes, position: int, end: int) -> bytes:
    """Return the packed event of the record that lies between these places."""
    return payload[position + RECORD_HEAD : end]
