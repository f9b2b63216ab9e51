"""The files of a run as readers see them: in order, rotated and compressed ones too, line by line."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from logferry.layout import Home
from logferry_agent.rotation import LogName, in_order

_READ_BYTES = 1 << 20


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
    return [
        RunLogs(experiment.name, run.name, Path(run.path))
        for experiment in _directories(home.logs)
        for run in _directories(Path(experiment.path))
    ]


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


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Open a file of lines for reading, whatever it is compressed with.

    Raises:
        OSError: it cannot be opened; ELOOP where it is a link.

    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=_READ_BYTES) as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        elif path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(raw, read_size=_READ_BYTES) as reader:
                yield cast(BinaryIO, reader)
        else:
            yield raw


def blocks(path: Path, size: int = 4 << 20) -> Iterator[bytes]:
    """Yield the file's content in pieces of whole lines; a last line without its line feed is not there yet.

    Raises:
        OSError, zstandard.ZstdError, EOFError: it cannot be read.

    """
    rest = b""
    with open_log(path) as file:
        while data := file.read(size):
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                yield data[:end]


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
