"""What a dead producer left: read as adoption reads it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from logferry import leftovers, spool
from logferry_agent.producers import checked_about
from logferry_agent.segment import EVENTS, Record
from mutation import join, split
from real import real
from targets import checksums, rendering

_NAMES = ["lock", "hello", "head", "00000001.seg", "00000002.seg", "00000003.seg"]
MEND = 1
_DIRECTORY = tempfile.TemporaryDirectory(prefix="lf-")
_ROOT = Path(_DIRECTORY.name)


def seeds() -> list[bytes]:
    return [
        join(flags, [(_NAMES.index(name), data) for name, data in files.items()])
        for files in real().spools
        for flags in (0, MEND, 2, MEND | 2)
    ]


def check(data: bytes) -> None:
    flags, parts = split(data)
    directory = _ROOT / "aaaaaaaa"
    directory.mkdir()
    try:
        for kind, body in parts:
            _write(directory / _NAMES[kind % len(_NAMES)], body, mend=bool(flags & MEND))
        _read(directory, flags)
    finally:
        shutil.rmtree(directory)


def _write(path: Path, body: bytes, *, mend: bool) -> None:
    if path.suffix == ".seg":
        path.write_bytes((checksums.segment(body) if mend else body) + bytes(64))
    elif path.name == "head":
        path.write_bytes(body.ljust(4096, b"\0"))
    else:
        path.write_bytes(checksums.hello(body) if mend and path.name == "hello" else body)


def _read(directory: Path, flags: int) -> None:
    about = spool.read_about(directory)
    if isinstance(about, dict):
        checked_about("aaaaaaaa", about)
    assert sum(spool.read_head(directory).shed.values()) >= 0
    spool.lock_holder(directory / "lock")
    try:
        lock = spool.take_lock(directory)
    except FileNotFoundError:
        lock = None
    if lock is not None:
        os.close(lock)
    after = 3 if flags & 2 else 0
    last, records = after, []
    for piece in leftovers.read_dead(directory, after, 1024):
        if isinstance(piece, leftovers.Slice):
            assert piece.first > last, (piece, last)
            assert 0 < piece.events <= len(piece.payload)
            last = piece.first + piece.events - 1
            assert checksums.records(piece.payload, 0) == piece.payload
            records.append(Record(len(records), 0, EVENTS, "aaaaaaaa", piece.first, piece.events, piece.payload))
        else:
            assert piece.events is None or piece.events > 0
    rendering.check(records)
