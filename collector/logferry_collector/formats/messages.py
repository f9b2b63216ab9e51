"""How much the messages of Arrow's IPC unpack to, read from their heads: pyarrow unpacks whatever a head says.

A stream is messages one after the other; a file ends in a footer that says where its messages are, the footer's size
and `ARROW1`. A message is a flatbuffer and a body. Of the flatbuffers four tables matter, by the numbers of their
fields: `Footer` (2 and 3: places of dictionaries and batches, each offset, size of the head, size of the body),
`Message` (1: kind of header, 2: header), `DictionaryBatch` (1: its batch) and `RecordBatch` (2: buffers as pairs of
offset and length in the body, 3: compression, absent where there is none). A packed buffer begins with its size, or -1
where it lies there as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

FILE = b"ARROW1"
_DICTIONARY, _BATCH = 2, 3
_BLOCK, _BUFFER = "<qi4xq", "<qq"


def unpacked_bytes(buffer: Any) -> Iterator[int]:
    """Yield the bytes that each message of a file or stream unpacks to.

    Raises:
        ValueError, struct.error, pyarrow.ArrowException: it is damaged, or not whole.

    """
    import pyarrow  # noqa: PLC0415 - as in arrow.py

    data = memoryview(buffer)
    if data[:6] != FILE:
        for message in pyarrow.ipc.MessageReader.open_stream(pyarrow.BufferReader(buffer)):
            yield _unpacked(message)
        return
    if data[-6:] != FILE:
        raise ValueError("ends in its middle")
    size = _number(data, "i", len(data) - 10)
    footer = data[len(data) - 10 - size : len(data) - 10]
    table = _number(footer, "I", 0)
    for field in (2, 3):
        for offset, head, body in _vector(footer, table, field, _BLOCK):
            yield _unpacked(pyarrow.ipc.read_message(buffer.slice(offset, head + body)))


def _unpacked(message: Any) -> int:
    head, body = memoryview(message.metadata), memoryview(message.body or b"")
    table = _number(head, "I", 0)
    kind_at = _field(head, table, 1)
    kind = _number(head, "B", kind_at) if kind_at else 0
    if kind not in {_DICTIONARY, _BATCH}:
        return 0
    batch = _table(head, table, 2)
    batch = _table(head, batch, 1) if kind == _DICTIONARY else batch
    if not _field(head, batch, 3):
        return 0
    return sum(_size(body, offset, length) for offset, length in _vector(head, batch, 2, _BUFFER))


def _size(body: memoryview, offset: int, length: int) -> int:
    if length == 0:
        return 0
    size = _number(body, "q", offset)
    if size < -1:
        raise ValueError(f"a buffer of {size} bytes")
    return max(size, length)


def _vector(data: memoryview, table: int, field: int, form: str) -> Iterator[tuple[Any, ...]]:
    at = _field(data, table, field)
    if at:
        first = at + _number(data, "I", at)
        yield from struct.iter_unpack(form, data[first + 4 :][: struct.calcsize(form) * _number(data, "I", first)])


def _table(data: memoryview, table: int, field: int) -> int:
    at = _field(data, table, field)
    return at + _number(data, "I", at)


def _field(data: memoryview, table: int, field: int) -> int:
    """Return where a field of a table is, 0 where it is absent."""
    slots = table - _number(data, "i", table)
    slot = 4 + 2 * field
    offset = _number(data, "H", slots + slot) if slot < _number(data, "H", slots) else 0
    return table + offset if offset else 0


def _number(data: memoryview, form: str, at: int) -> int:
    if at < 0:
        raise ValueError("an offset before the beginning")
    return int(struct.unpack_from(f"<{form}", data, at)[0])
