"""Files as gzip, bzip2, xz and Zstandard write them: `.jsonl.gz`, `.csv.zst` … each other format, read whole.

What is unpacked is bounded (`MAX_UNPACKED`), whatever the packed file says of itself; several members one after the
other are one content; one that ends in its middle is not whole yet.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from logferry_collector.formats.content import (
    MAX_CELLS,
    MAX_ROWS,
    MAX_UNPACKED,
    BeyondError,
    Content,
    Format,
    Reading,
    refused,
    unfinished,
)
from logferry_collector.records import Parsed

_STEP = 1 << 20
# What lies behind a member is copied with it, and a file may be a million members: little at a time. Of zstandard no
# call has a bound on what it returns, but four bytes make at most a block of 128 KiB.
_PIECES = {".gz": 4096, ".bz2": 4096, ".xz": 4096, ".zst": 512}
# xz asks for as much memory as the file says; no preset needs more than 65 MiB.
_XZ_MEMORY = 128 << 20


def _gzip() -> Any:
    return zlib.decompressobj(wbits=31)


def _xz() -> Any:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


def _zstandard() -> Any:
    import zstandard  # noqa: PLC0415 - most collectors never see such a file

    # A window is allocated as the file says; no level needs more than 128 MiB.
    return zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj()


_OPENERS: dict[str, Callable[[], Any]] = {".gz": _gzip, ".bz2": bz2.BZ2Decompressor, ".xz": _xz, ".zst": _zstandard}
CODECS = tuple(_OPENERS)


class Packed:
    """Another format, packed."""

    grows = False

    def __init__(self, inner: Format, codec: str) -> None:
        self.inner = inner
        self.suffixes = tuple(suffix + codec for suffix in inner.suffixes)
        self.max_bytes = MAX_UNPACKED
        self._codec = codec

    def missing(self, reading: Reading) -> str:
        return self.inner.missing(reading)

    def parse(self, content: Content) -> Parsed:
        data = content.data
        try:
            plain = unpacked(data, self._codec)
        except EOFError:
            return unfinished(data, "the archive ends in its middle")
        except BeyondError as error:
            return refused(data, str(error))
        except MemoryError:
            raise
        except Exception as error:  # each library has errors of its own for what is damaged
            return unfinished(data, f"cannot be unpacked: {error}")
        if self.inner.grows and (plain.count(b"\n") > MAX_ROWS or sum(map(plain.count, b",;\t|")) > MAX_CELLS):
            return refused(data, f"more than {MAX_ROWS} rows or {MAX_CELLS} values; unpacked it can be read in parts")
        parsed = self.inner.parse(Content(plain, 0, end=True, head=b"", reading=content.reading))
        if parsed.unfinished and not parsed.rows:
            return parsed
        rejects = parsed.rejects
        if parsed.unfinished:  # an archive that is whole gets no more
            return Parsed(parsed.documents, 0, 0, rejects, parsed.unfinished, rows=True)
        return Parsed(parsed.documents, len(data), 0, rejects, rows=parsed.rows)

    def plain(self, data: bytes) -> bytes:
        """Return what is packed, as much as can be unpacked."""
        try:
            return unpacked(data, self._codec)
        except MemoryError:
            raise
        except Exception:  # what is damaged equals nothing
            return b""


def unpacked(data: bytes, codec: str) -> bytes:
    """Return what some bytes unpack to.

    Raises:
        EOFError: they end in the middle of a member.
        BeyondError: it is more than `MAX_UNPACKED`.
        Exception: the codec's own error.

    """
    parts: list[bytes] = []
    size = at = 0
    while at < len(data):
        stream = _OPENERS[codec]()
        while not stream.eof and at < len(data):
            piece = data[at : at + _PIECES[codec]]
            at += len(piece)
            for part in _steps(stream, piece, codec):
                size += len(part)
                if size > MAX_UNPACKED:
                    limit = f"{MAX_UNPACKED >> 20} MiB"
                    raise BeyondError(f"unpacks to more than {limit}; unpacked it can be read in parts")
                parts.append(part)
        if not stream.eof:
            raise EOFError
        at -= len(stream.unused_data)
        while codec in {".gz", ".xz"} and at < len(data) and data[at] == 0:  # padding
            at += 1
    return b"".join(parts)


def _steps(stream: Any, piece: bytes, codec: str) -> Iterator[bytes]:
    """Yield what a piece of a member unpacks to, little at a time."""
    if codec == ".zst":
        yield stream.decompress(piece)
        return
    yield stream.decompress(piece, _STEP)
    if codec == ".gz":
        while stream.unconsumed_tail and not stream.eof:
            yield stream.decompress(stream.unconsumed_tail, _STEP)
        return
    while not stream.eof and not stream.needs_input:
        yield stream.decompress(b"", _STEP)
