"""The files of a run as readers see them: in order, rotated and compressed ones too, line by line."""

from __future__ import annotations

import errno
import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from logferry.cli import printable
from logferry.layout import Home
from logferry_agent.fs import said
from logferry_agent.rotation import LogName, in_order

# Small enough to stay in the processor's cache from reading to searching.
_BLOCK_BYTES = 64 << 10
# What is unpacked at a time: a block of zeros becomes 30,000 times as long.
_STEP_BYTES = 2 << 10
# An event is at most 1 MiB packed; as JSON each of its bytes may be six. What is longer is no line of ours.
MAX_LINE_BYTES = 16 << 20
# How a file says that it cannot be read, or not to its end.
UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class RunLogs:
    """A run's directory under `logs/`."""

    experiment: str
    run: str
    path: Path

    def files(self) -> dict[str, list[LogName]]:
        """Return by host the files that hold the run's lines, in the order of their lines."""
        hosts: dict[str, list[LogName]] = {}
        for log in in_order(_names(self.path)):
            hosts.setdefault(log.host, []).append(log)
        return hosts


def runs(home: Home) -> list[RunLogs]:
    """Return all runs that have a directory of logs; links and what begins with a dot are not followed."""
    return [run for experiment in _directories(home.logs) for run in _runs_of(experiment)]


def listed(home: Home) -> tuple[list[tuple[RunLogs, list[str]]], dict[Path, OSError]]:
    """Return all runs with the names in their directories, and what cannot be listed, with the reason.

    Raises:
        OSError: the directory of all logs is among that.

    """
    found: list[tuple[RunLogs, list[str]]] = []
    failed: dict[Path, OSError] = {}
    for experiment in _directories(home.logs):
        try:
            there = _runs_of(experiment)
        except OSError as error:
            failed[Path(experiment.path)] = error
            continue
        for run in there:
            try:
                found.append((run, _names(run.path)))
            except OSError as error:
                failed[run.path] = error
    return found, failed


def _runs_of(experiment: os.DirEntry[str]) -> list[RunLogs]:
    return [RunLogs(experiment.name, run.name, Path(run.path)) for run in _directories(Path(experiment.path))]


def find(home: Home, wanted: str | None) -> list[RunLogs]:
    """Return the runs that are meant: `RUN`, `EXPERIMENT/RUN`, `EXPERIMENT`, or a unique beginning or end of a run id.

    None is the run that was written to last. An empty list: there is none; several from a part of an id: ambiguous.
    """
    known = runs(home)
    if wanted is None:
        latest = max(known, key=lambda run: run.path.stat().st_mtime_ns, default=None)
        newest = max(known, key=_changed_ns, default=latest)
        return [newest] if newest else []
    return (
        [run for run in known if wanted in {run.run, f"{run.experiment}/{run.run}"}]
        or [run for run in known if run.experiment == wanted]
        or [run for run in known if run.run.startswith(wanted) or run.run.endswith(wanted)]
    )


def blocks(path: Path, size: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the file's content in pieces of whole lines; a last line without its line feed is not there yet.

    Raises:
        UNREADABLE: it cannot be read, or not to its end; what could be was given before. ELOOP where it is a link.

    """
    rest: list[bytes] = []
    for data in _pieces(path, size):
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, memoryview(data)[:end]])
            rest.clear()
        rest.append(data[end:])
        if sum(map(len, rest)) > MAX_LINE_BYTES:
            raise too_long(path)


def too_long(path: Path) -> OSError:
    return OSError(errno.EMSGSIZE, f"a line is longer than {MAX_LINE_BYTES >> 20} MiB", str(path))


def host_blocks(
    run: RunLogs, logs: Iterable[LogName], unreadable: Callable[[Path, Exception], None]
) -> Iterator[bytes]:
    """Yield the content of one host's files, in order, though they are rotated, compressed or pruned meanwhile.

    Args:
        run: the run.
        logs: its files of the host, as they were listed.
        unreadable: is told which file cannot be read to its end, and why; the others are read.

    """
    pending = list(logs)
    known = {log.unpacked_name for log in pending}
    while pending:
        log = pending.pop(0)
        content = blocks(run.path / log.name)
        try:
            first = next(content, b"")
            # Listed after it was opened: what is new by then has the lines before it.
            became = log.current and _became(run, log, known)
            if became:
                pending[:0] = [*became, log]
                continue
            yield first
            yield from content
        except FileNotFoundError:  # pruned, compressed or rotated since it was listed
            pending[:0] = _became(run, log, known)
        except UNREADABLE as error:
            unreadable(run.path / log.name, error)


def _became(run: RunLogs, log: LogName, known: set[str]) -> list[LogName]:
    """Return, and add to those known, the files that have the lines of a file which was rotated or compressed."""
    listed = run.files().get(log.host, ())
    if not log.current:
        return [one for one in listed if one.packed and one.unpacked_name == log.name]
    found = [one for one in listed if one.variant == log.variant and not one.current and one.unpacked_name not in known]
    known.update(one.unpacked_name for one in found)
    return found


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as raw:
        if path.suffix == ".zst":
            yield from _gathered(_unpacked(raw), size)
        elif path.suffix == ".gz":
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield from iter(partial(unpacked.read, size), b"")
        else:
            yield from iter(partial(raw.read, size), b"")


def _unpacked(raw: BinaryIO) -> Iterator[bytes]:
    """Unpack zstd, whose own reader takes a file that was cut for a whole one."""
    maker = zstandard.ZstdDecompressor()
    frame, begun = maker.decompressobj(), False
    while packed := raw.read(_STEP_BYTES):
        while packed:
            yield frame.decompress(packed)
            packed = frame.unused_data
            begun = not frame.eof
            if frame.eof:
                frame = maker.decompressobj()
    if begun:
        raise EOFError("the compressed file ends in the middle")


def _gathered(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    found: list[bytes] = []
    gathered = 0
    for part in parts:
        found.append(part)
        gathered += len(part)
        if gathered >= size:
            yield b"".join(found)
            found, gathered = [], 0
    yield b"".join(found)


def say_unreadable(path: Path, error: Exception) -> None:
    """Tell the user that lines are missing in what follows, and go on with the other files."""
    print(f"logferry: {printable(f'{path} cannot be read to its end: {said(error)}')}", file=sys.stderr)


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _directories(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            entries = [one for one in found if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entries, key=lambda one: one.name)


def _changed_ns(run: RunLogs) -> int:
    times = [(run.path / log.name).stat().st_mtime_ns for logs in run.files().values() for log in logs]
    return max(times, default=0)
