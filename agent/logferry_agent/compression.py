"""A rotated file becomes a compressed one: temporary file → fsync → rename → fsync of the directory → unlink.

The temporary file's name begins with a dot, so that nobody reads it. Whatever step a crash comes at, doing it all again
is right: a compressed file beside its original is written anew. The modification time is kept. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import zstandard

from logferry.killpoints import passed
from logferry_agent.fs import FileSystem, write_all
from logferry_agent.rotation import COMPRESSED

_STEP = 1 << 20
# zlib's window bits for gzip's own header and checksum
_GZIP = 31


class _Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


def compress(fs: FileSystem, path: Path, kind: str) -> Path:
    """Compress a file; return the new one's path.

    Raises:
        OSError: nothing has changed for readers.

    """
    target = path.with_name(path.name + COMPRESSED[kind])
    temporary = path.with_name(f".{path.name.replace('.jsonl', '')}.{os.getpid()}.tmp")
    source = fs.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = fs.fstat(source)
        _write(fs, temporary, _compressed(fs, source, kind), stat.S_IMODE(found.st_mode))
    finally:
        fs.close(source)
    fs.utime(temporary, (found.st_atime_ns, found.st_mtime_ns))
    passed("compress.synced")
    fs.rename(temporary, target)
    passed("compress.renamed")
    fs.sync_directory(path.parent)
    passed("compress.named")
    fs.unlink(path)
    passed("compress.done")
    return target


def _compressed(fs: FileSystem, fd: int, kind: str) -> Iterator[bytes]:
    maker: _Compressor = (
        zstandard.ZstdCompressor(write_checksum=True).compressobj() if kind == "zstd" else zlib.compressobj(wbits=_GZIP)
    )
    offset = 0
    while data := fs.pread(fd, _STEP, offset):
        offset += len(data)
        yield maker.compress(data)
    yield maker.flush()


def _write(fs: FileSystem, path: Path, parts: Iterator[bytes], mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        fs.unlink(path)
    fd = fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        offset = 0
        for part in parts:
            offset += write_all(fs, fd, [part], offset)
        passed("compress.written")
        fs.fsync(fd)
    finally:
        fs.close(fd)
