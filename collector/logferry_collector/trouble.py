"""What a run's running logs say of how it went: its last warnings and errors, its attempts, and its seals.

Rotated and compressed files count too. The newest file is read first, and no more than `MAX_BYTES` in all, so that a
run with gigabytes of logs answers as soon as any other: trouble that ends a run stands at the end.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_ERRORS = frozenset({"ERROR", "CRITICAL"})
_SEAL, _RESULT = "logferry.seal", "logferry.result"
# What none of these is in, is not worth parsing.
_MARKS = (b"ERROR", b"WARNING", b"CRITICAL", _SEAL.encode(), _RESULT.encode())
_SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")
MAX_BYTES = 256 << 20
# An event is at most 1 MiB packed; as JSON it can be several times that.
_MAX_LINE = 16 << 20
_MAX_ERRORS, _MAX_WARNINGS = 20, 10


@dataclass(slots=True)
class Trouble:
    """What was found, oldest first; `files` is all files of the run's logs, `unread` those not read whole, and why."""

    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    seals: list[dict[str, Any]] = field(default_factory=list)
    attempts: dict[int, dict[str, Any]] = field(default_factory=dict)  # what each said of itself last
    files: list[Path] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


class _Events:
    """The events of one file that matter here, as they come."""

    def __init__(self) -> None:
        self.errors: deque[dict[str, Any]] = deque(maxlen=_MAX_ERRORS)
        self.warnings: deque[dict[str, Any]] = deque(maxlen=_MAX_WARNINGS)
        self.seals: list[dict[str, Any]] = []
        self.attempts: dict[int, dict[str, Any]] = {}

    def add(self, line: bytes) -> None:
        try:
            event = orjson.loads(line)
        except ValueError:  # torn, or a part of a line
            return
        if not isinstance(event, dict):
            return
        name, level, attempt = event.get("event"), event.get("level"), event.get("attempt")
        if name == _SEAL:
            self.seals.append(event)
        elif name == _RESULT and isinstance(attempt, int):
            self.attempts[attempt] = {key: event.get(key) for key in ("status", "started", "host", "owner")}
        elif level in _ERRORS:
            self.errors.append(event)
        elif level == "WARNING":
            self.warnings.append(event)


def trouble(directory: Path, max_bytes: int = MAX_BYTES) -> Trouble:
    """Read the running logs of one run."""
    found = Trouble(files=_files(directory))
    left = max_bytes
    for path in reversed(_of_lines(found.files)):
        if left <= 0:
            found.unread[str(path)] = f"older than the last {max_bytes >> 20} MiB of lines"
            continue
        try:
            left -= _read(path, left, found)
        except ModuleNotFoundError as error:
            found.unread[str(path)] = f"needs {error.name}; pip install 'logferry[collector]'"
        except Exception as error:  # of the file system or a decompressor: the other files are worth reading
            found.unread[str(path)] = str(getattr(error, "strerror", None) or error or type(error).__name__)
    for events in (found.errors, found.warnings, found.seals):
        events.sort(key=lambda event: str(event.get("time", "")))
    del found.errors[:-_MAX_ERRORS], found.warnings[:-_MAX_WARNINGS]
    found.attempts = dict(sorted(found.attempts.items()))
    return found


def _files(directory: Path) -> list[Path]:
    """Return a run's files, those written to last at the end."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        there = [entry for entry in entries if not entry.name.startswith(".")]
        there.sort(key=lambda entry: (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        return [directory / entry.name for entry in there]
    return []


def _of_lines(files: list[Path]) -> list[Path]:
    """Return the files of JSON lines; one that a crash left both ways once."""
    names = {file.name for file in files}
    return [
        file
        for file in files
        if file.name.endswith(_SUFFIXES)
        and (file.suffix == ".jsonl" or file.name.removesuffix(file.suffix) not in names)
    ]


def _read(path: Path, most: int, into: Trouble) -> int:
    """Read one file's last `most` bytes, of a compressed one the first; return how many that was."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    here = _Events()
    read = 0
    with open(fd, "rb") as raw:
        over = os.fstat(fd).st_size - most
        if path.suffix == ".jsonl" and over > 0:
            raw.seek(over)
            read += len(raw.readline(_MAX_LINE))
            into.unread[str(path)] = f"only the last {most >> 20} MiB were read"
        with _unpacked(path, raw) as lines:
            for line in iter(lambda: lines.readline(_MAX_LINE), b""):
                read += len(line)
                if any(mark in line for mark in _MARKS):
                    here.add(line)
                if read > most:
                    into.unread[str(path)] = f"only the first {most >> 20} MiB were read"
                    break
    into.errors += here.errors
    into.warnings += here.warnings
    into.seals += here.seals
    into.attempts = here.attempts | into.attempts  # this file is older than those read before
    return read


@contextlib.contextmanager
def _unpacked(path: Path, raw: BinaryIO) -> Iterator[BinaryIO]:
    if path.suffix == ".zst":
        import zstandard  # noqa: PLC0415 - the message of its absence belongs to the file that needs it

        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as reader:
            yield io.BufferedReader(reader)
    elif path.suffix == ".gz":
        with gzip.open(raw) as lines:
            yield lines  # type: ignore[misc]
    else:
        yield raw
