"""A journal that the agent finds when it starts: recovered, read to its end, rendered; a later version is kept."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from logferry_agent.fs import FileSystem
from logferry_agent.journal import Damage, Journal, Record
from logferry_agent.later import LaterVersionError
from logferry_agent.producers import Producers
from logferry_agent.state import Key
from mutation import join, split
from real import real
from support.journals import everything
from targets import checksums, rendering

MEND = 1
_DIRECTORY = tempfile.TemporaryDirectory(prefix="lf-")
_ROOT = Path(_DIRECTORY.name)


class Unsynced(FileSystem):
    """Nothing here outlives the process."""

    def fsync(self, fd: int) -> None: ...
    def fdatasync(self, fd: int) -> None: ...


def seeds() -> list[bytes]:
    (files,) = real().journals
    parts = [(int(name[:16], 16), data) for name, data in files.items()]
    return [join(flags, some) for flags in (0, MEND) for some in (parts, parts[:1], parts[1:])]


def check(data: bytes) -> None:
    flags, parts = split(data)
    directory = _ROOT / "node" / "journal"
    directory.mkdir(parents=True)
    try:
        for kind, body in parts:
            segment = kind % 4 + 1 if kind > 4 else kind
            mended = checksums.journal(body, segment) if flags & MEND else body
            (directory / f"{segment:016x}.jnl").write_bytes(mended)
        before = _contents(directory)
        try:
            _read(directory)
        except LaterVersionError:
            assert _contents(directory) == before
    finally:
        shutil.rmtree(directory)


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _read(directory: Path) -> None:
    journal = Journal(directory, Unsynced(), lambda *_: None, lambda: 7)
    try:
        producers = Producers(journal.ledger)
        items = everything(journal, limit=4096)
        for item in items:
            assert isinstance(item, Record | Damage)
        records = [item for item in items if isinstance(item, Record)]
        runs = {one.run for one in producers} | {("exp", "run")}
        for run in runs:
            chunk = rendering.RENDERER.render(Key(*run, "jsonl"), records, {})
            assert chunk.data.endswith(b"\n") or not chunk.data
            rendering.RENDERER.render(Key(*run, "text"), records, {})
        journal.ledger.dump()
    finally:
        journal.close()
