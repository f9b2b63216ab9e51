"""Reads the journal's segments for whoever follows it, one descriptor at a time; not safe for two threads at once."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

from logferry_agent.fs import FileSystem
from logferry_agent.journal_recovery import Segment, opened, segment_path
from logferry_agent.quarantine import Quarantine
from logferry_agent.segment import Damage, Record, offset_of, position_of, read_header, read_records, segment_of

_log = logging.getLogger(__name__)
# Of a larger damaged range the beginning is kept.
_KEPT_BYTES = 4 << 20


class JournalReader:
    """The segments in `directory`; what cannot be read goes to `quarantine`."""

    def __init__(self, fs: FileSystem, directory: Path, quarantine: Quarantine) -> None:
        self._fs, self._directory, self._quarantine = fs, directory, quarantine
        self._open: tuple[int, int] | None = None  # segment, descriptor

    def read(self, segment: Segment, start: int, end: int, limit: int) -> tuple[list[Record | Damage], int]:
        """Read from offset `start` (0: the first record) up to `end`; return what is there and the next position."""
        try:
            fd = -1 if segment.missing else self._descriptor(segment.id)
        except FileNotFoundError:
            segment.missing = True
        if segment.missing:
            where = (position_of(segment.id, start), position_of(segment.id, end))
            return [Damage(*where)], where[1]
        pread = partial(self._fs.pread, fd)
        if not start:
            header = read_header(pread, segment.id)
            start = header.end if header else 0
        items, offset = read_records(pread, segment.id, start, end, limit)
        return items, position_of(segment.id, offset)

    def keep(self, damage: Damage) -> None:
        """Keep the bytes of a damaged range aside."""
        path = segment_path(self._directory, segment_of(damage.position))
        try:
            with opened(self._fs, path, os.O_RDONLY) as fd:
                data = self._fs.pread(fd, min(damage.end - damage.position, _KEPT_BYTES), offset_of(damage.position))
        except OSError as error:
            _log.warning("a part of the journal cannot be kept aside: %s: %s", path, error.strerror)
            return
        self._quarantine.keep(f"journal-{damage.position:016x}", data)

    def close(self) -> None:
        if self._open:
            fd, self._open = self._open[1], None
            self._fs.close(fd)

    def _descriptor(self, segment: int) -> int:
        if self._open and self._open[0] != segment:
            self.close()
        if not self._open:
            self._open = (segment, self._fs.open(segment_path(self._directory, segment), os.O_RDONLY))
        return self._open[1]
