"""Spool records taken apart without the code under test."""

from __future__ import annotations

from typing import Any

import msgpack

RECORD_HEAD = 10


def events_of(payload: bytes) -> list[list[Any]]:
    """Return the events of consecutive records."""
    found, position = [], 0
    while position < len(payload):
        length = int.from_bytes(payload[position + 1 : position + 5], "big")
        found.append(msgpack.unpackb(payload[position + RECORD_HEAD : position + RECORD_HEAD + length]))
        position += RECORD_HEAD + length
    return found
