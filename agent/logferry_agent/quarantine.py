"""Bytes that could not be read, kept aside in `journal/bad/` for a person to look at; bounded, and never in the way."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from logferry_agent.fs import FileSystem, write_all

_log = logging.getLogger(__name__)
# Enough to see what happened; a disk full of rubbish helps nobody.
_LIMIT_BYTES, _LIMIT_FILES = 64 << 20, 1000
_UNSAFE = re.compile(r"[^a-zA-Z0-9._-]")


class Quarantine:
    """The directory for bad bytes; made when the first ones come."""

    def __init__(self, fs: FileSystem, directory: Path) -> None:
        self._fs, self._directory = fs, directory
        self.kept = 0
        self._used: int | None = None
        self._files = 0

    def keep(self, name: str, data: bytes) -> None:
        """Keep `data` as the file `name`, unless it is there already or too much is kept; never raise."""
        path = self._directory / _UNSAFE.sub("_", name)
        self.kept += 1
        try:
            self._fs.make_directories(self._directory, self._directory.parent, 0o700)
            if self._used is None:
                names = self._fs.listdir(self._directory)
                self._used = sum(self._fs.lstat(self._directory / found).st_size for found in names)
                self._files = len(names)
            has_room = self._used + len(data) <= _LIMIT_BYTES and self._files < _LIMIT_FILES
            if has_room:
                self._used += self._write(path, data)
                self._files += 1
            said = "%d bytes that cannot be read: %s" if has_room else "%d bytes that cannot be read, no room for %s"
            _log.warning(said, len(data), path)
        except FileExistsError:
            pass
        except OSError as error:
            _log.warning("%d bytes that cannot be read are not kept at %s: %s", len(data), path, error.strerror)

    def _write(self, path: Path, data: bytes) -> int:
        fd = self._fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return write_all(self._fs, fd, [data], 0)
        finally:
            self._fs.close(fd)
