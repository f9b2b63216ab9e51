"""Unpacking rotated files, a bounded piece at a time, and whether a file is whole.

zstandard's reader is three times as fast as its other ways, and bounds what one step gives (a block of zeros becomes
30,000 times as long), but takes a file that was cut for a whole one. So the headers are looked at on the way to it::

    file  = frame*
    frame = header (its last flag: with checksum), block*, [checksum, 4 bytes]
          | magic 0x184D2A50 to 5F, size, 4 bytes each, as many bytes      which is skipped
    block = 3 bytes, little-endian: 1 bit is the last, 2 bits type, 21 bits size; as many bytes, of type 1 one
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, cast

import zstandard

_READ_BYTES = 64 << 10
_LONGEST_HEADER = 18
_SKIPPED_MAGIC = 0x184D2A5
_SKIPPED_HEAD = 8
_BLOCK_HEAD = 3
_REPEATED = 1


def unpacked(raw: BinaryIO, packing: str, size: int) -> Iterator[bytes]:
    """Yield the content in pieces of at most `size` bytes.

    Raises:
        UNREADABLE: it is damaged or was cut; what could be read was given before.

    """
    if packing == ".gz":
        with gzip.GzipFile(fileobj=raw, mode="rb") as content:
            yield from iter(partial(content.read, size), b"")
        return
    frames = _Frames(raw)
    source = cast("BinaryIO", frames)
    reader = zstandard.ZstdDecompressor().stream_reader(source, read_size=_READ_BYTES, read_across_frames=True)
    yield from iter(partial(reader.read, size), b"")
    if not frames.are_whole:
        raise EOFError("the compressed file ends in the middle")


class _Frames:
    """Reads a file, and knows whether what was read of it ends with a frame."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._ahead = b""  # the beginning of a header
        self._skip = 0  # bytes until the next header
        self._trailer: int | None = None  # bytes behind the last block of this frame; None between frames

    @property
    def are_whole(self) -> bool:
        return self._trailer is None and not self._skip and not self._ahead

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        seen = self._ahead + data
        at = self._skip
        while at < len(seen) and (length := self._next(seen[at : at + _LONGEST_HEADER])):
            at += length
        self._ahead, self._skip = seen[at:], max(0, at - len(seen))
        return data

    def _next(self, head: bytes) -> int:
        """Return how far it is from this header to the next, 0 if it is not whole."""
        if self._trailer is None:
            return self._begun(head)
        if len(head) < _BLOCK_HEAD:
            return 0
        bits = int.from_bytes(head[:_BLOCK_HEAD], "little")
        length = _BLOCK_HEAD + (1 if bits >> 1 & 3 == _REPEATED else bits >> 3)
        if bits & 1:
            length += self._trailer
            self._trailer = None
        return length

    def _begun(self, head: bytes) -> int:
        if len(head) >= _SKIPPED_HEAD and int.from_bytes(head[:4], "little") >> 4 == _SKIPPED_MAGIC:
            return _SKIPPED_HEAD + int.from_bytes(head[4:8], "little")
        try:
            length = zstandard.frame_header_size(head)
            self._trailer = 4 * zstandard.get_frame_parameters(head).has_checksum
        except zstandard.ZstdError:  # not whole; what is no frame, the reader refuses
            return 0
        return length
