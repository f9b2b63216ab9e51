"""The files of a run as readers see them: in order, rotated and compressed ones too, line by line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from logferry.cli import printable, say
from logferry.layout import Home
from logferry_agent.content import UNREADABLE, backwards, blocks
from logferry_agent.fs import said
from logferry_agent.rotation import LogName, in_order

# Is told which file cannot be read to its end, and why.
Unreadable = Callable[[Path, Exception], None]
# So often a directory is listed anew whose files were renamed meanwhile.
_LISTINGS = 3
# Files of one host with their content.
Files = Iterator[tuple[LogName, Iterator[bytes]]]


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
        newest = max(known, key=_changed_ns, default=None)
        return [newest] if newest else []
    return (
        [run for run in known if wanted in {run.run, f"{run.experiment}/{run.run}"}]
        or [run for run in known if run.experiment == wanted]
        or [run for run in known if run.run.startswith(wanted) or run.run.endswith(wanted)]
    )


def host_blocks(run: RunLogs, logs: Iterable[LogName], unreadable: Unreadable) -> Iterator[bytes]:
    """Yield the content of one host's files, in order, though they are rotated, compressed or pruned meanwhile.

    Args:
        run: the run.
        logs: its files of the host, as they were listed.
        unreadable: is told what cannot be read; the other files are.

    """
    for _, content in host_files(run, logs, unreadable):
        yield from content


def host_files(run: RunLogs, logs: Iterable[LogName], unreadable: Unreadable, *, newest_first: bool = False) -> Files:
    """Yield the same file by file; with `newest_first` from the last to the first, what is not packed backwards too."""
    pending = list(logs)
    known = {log.unpacked_name for log in pending}
    while pending:
        log = pending.pop(-1 if newest_first else 0)
        path = run.path / log.name
        content = backwards(path) if newest_first and not log.packed else blocks(path)
        became: list[LogName] = []
        try:
            first = next(content, b"")
            # Listed after it was opened: what is new by then has the lines before it.
            became = _became(run, log, known) if log.current else []
            if became:
                became.append(log)
            else:
                yield log, told(path, chain([first], content), unreadable)
        except FileNotFoundError:  # pruned, compressed or rotated since it was listed
            became = _became(run, log, known)
        except UNREADABLE as error:
            unreadable(path, error)
        pending = [*pending, *became] if newest_first else [*became, *pending]


def told(path: Path, content: Iterator[bytes], unreadable: Unreadable) -> Iterator[bytes]:
    """Yield content as long as it can be read."""
    try:
        yield from content
    except UNREADABLE as error:
        unreadable(path, error)


def _became(run: RunLogs, log: LogName, known: set[str]) -> list[LogName]:
    """Return, and add to those known, the files that have the lines of a file which was rotated or compressed."""
    listed = run.files().get(log.host, ())
    if not log.current:
        return [one for one in listed if one.packed and one.unpacked_name == log.name]
    found = [one for one in listed if one.variant == log.variant and not one.current and one.unpacked_name not in known]
    known.update(one.unpacked_name for one in found)
    return found


def say_unreadable(path: Path, error: Exception) -> None:
    """Tell the user that lines are missing in what follows, and go on with the other files."""
    say(f"logferry: {printable(f'{path} cannot be read to its end: {said(error)}')}")


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
    for _ in range(_LISTINGS):
        paths = [run.path / log.name for logs in run.files().values() for log in logs]
        try:
            return max((path.lstat().st_mtime_ns for path in paths), default=0)
        except FileNotFoundError:  # rotated, compressed or pruned since it was listed
            continue
    return run.path.lstat().st_mtime_ns
