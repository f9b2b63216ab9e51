"""Where an output stands when `state.db` was lost: read from the lines that are in its files.

Every line carries its `seq`, so the last number of each producer, and how many of its lines there are, can be counted
again; documents and seals are lines too, so what is due to the run's result is known again as well. A last line without
its line feed is cut by writing over it. This reads a run's files whole; it happens once, for runs of which the journal
still holds records. What is damaged in them is not there: the next line goes on behind it.
"""

from __future__ import annotations

import errno
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from logferry.events import RESULT
from logferry_agent.chunk import is_of_run
from logferry_agent.content import UNREADABLE, blocks
from logferry_agent.fs import FileSystem, said
from logferry_agent.logfile import TAIL_BYTES, LogFile, way_to
from logferry_agent.logset import RunLogs
from logferry_agent.prune import pruned
from logferry_agent.rotation import in_order
from logferry_agent.scan import AGENT_NAME, Scan, system_lines
from logferry_agent.state import Checkpoint, Cursor, Key, Unsettled, newest

_log = logging.getLogger(__name__)
# What is no running log, whoever put it there: a link, a line without end; gzip's own errors have no number.
_NO_LOG = {errno.ELOOP, errno.EMSGSIZE, None}
_OF_A_LINE = {"time", "level", "event", "message", "seq"}


def salvage(fs: FileSystem, logs: Path, host: str, key: Key) -> tuple[Checkpoint, Unsettled | None]:
    """Return the checkpoint that the files of an output amount to, and what they say of the run's result.

    Raises:
        OSError: they cannot be read.

    """
    directory = logs / key.experiment / key.run
    found = RunLogs(key.experiment, key.run, directory).files().get(host, [])
    if key.kind == "text":
        return _text(directory, host, key), None
    scan = Scan()
    documents: list[dict[str, Any]] = []
    size, sound = 0, False
    for log in found:
        size, sound = 0, True
        try:
            for block in blocks(directory / log.name):
                scan.add(block)
                size += len(block)
                documents += [_fields(line) for line in system_lines(block) if line["event"] == RESULT]
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOG:
                raise
            _log.warning(
                "%s is damaged, what it holds from there on is not known: %s", directory / log.name, said(error)
            )
            sound = False
    cursors = _beyond_pruned(
        {name: Cursor(one.last, one.lines) for name, one in scan.producers.items()}, directory, key
    )
    standing = Checkpoint(*key, rotations=max((log.number for log in found), default=0), cursors=cursors)
    if sound and found[-1].current:
        standing = _in_file(fs, standing, logs, directory / found[-1].name, found[-1].variant, size)
    seals = {name: one.seal for name, one in scan.producers.items() if one.seal}
    return standing, _unsettled(key, documents, seals)


def _beyond_pruned(cursors: dict[str, Cursor], directory: Path, key: Key) -> dict[str, Cursor]:
    """Return the cursors with what is written down of removed files: the journal may still hold those lines."""
    try:
        notes = pruned(RunLogs(key.experiment, key.run, directory))
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno not in {*_NO_LOG, errno.ENOENT}:
            raise
        return cursors
    for note in notes:
        for name, ranges in note["producers"].items():
            last, lines = cursors.get(name, Cursor(0, 0))
            lines += sum(end - first + 1 for first, end in ranges)
            cursors[name] = Cursor(max(last, *(end for _, end in ranges)) if ranges else last, lines)
        for line in note["system"]:
            name, _, number = str(line.get("seq")).rpartition("-")
            if name == AGENT_NAME and number.isdecimal():
                last, lines = cursors.get(name, Cursor(0, 0))
                cursors[name] = Cursor(max(last, int(number)), lines)
    return cursors


def _unsettled(key: Key, documents: list[dict[str, Any]], seals: dict[str, dict[str, Any]]) -> Unsettled | None:
    """Return what the system's own lines say of a run's result."""
    document = None
    for one in documents:
        if is_of_run(one, key):
            document = newest(document, one)
    timed = {name: {**_fields(seal), "time_ns": _time_ns(seal.get("time"))} for name, seal in seals.items()}
    return Unsettled(key.experiment, key.run, document, timed) if document or timed else None


def _fields(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in _OF_A_LINE}


def _time_ns(time: Any) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1_000_000) * 1000
    except (ValueError, TypeError, OverflowError):  # somebody changed the line
        return 0


def _in_file(fs: FileSystem, standing: Checkpoint, logs: Path, path: Path, variant: int, size: int) -> Checkpoint:
    # Its lines count as written from now on, and nobody knows which of them were synced.
    fd = fs.open(path, os.O_RDWR | os.O_NONBLOCK)
    ours = LogFile(fs, path, fd, way_to(path, logs.parent))
    try:
        ours.sync()
        begin = max(0, size - TAIL_BYTES)
        return standing._replace(
            name=path.name,
            inode=ours.inode,
            offset=size,
            tail=fs.pread(fd, size - begin, begin),
            variant=variant,
            created_ns=fs.fstat(fd).st_mtime_ns,
        )
    finally:
        ours.close()


def _text(directory: Path, host: str, key: Key) -> Checkpoint:
    """Begin the text rendering in a new file, because its lines carry no numbers."""
    names = [path.name for path in directory.glob("*")] if directory.is_dir() else []
    logs = [log for log in in_order(names, "text") if log.host == host]
    return Checkpoint(*key, variant=max((log.variant + 1 for log in logs), default=1))
