"""Where an output stands when `state.db` was lost: read from the lines that are in its files.

Every line carries its `seq`, so the last number of each producer, and how many of its lines there are, can be counted
again; documents and seals are lines too, so what is due to the run's result is known again as well. A last line without
its line feed is cut by writing over it. This reads a run's files whole; it happens once, for runs of which the journal
still holds records.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from logferry.events import RESULT, SYSTEM_PREFIX
from logferry_agent.chunk import is_of_run, newest
from logferry_agent.fs import FileSystem
from logferry_agent.ledger import SEAL
from logferry_agent.logfile import TAIL_BYTES, LogFile, way_to
from logferry_agent.logset import RunLogs, blocks
from logferry_agent.rotation import LogName, in_order
from logferry_agent.scan import Scan
from logferry_agent.state import Checkpoint, Cursor, Key, Unsettled

_SYSTEM = f'"event":"{SYSTEM_PREFIX}'.encode()
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
    said: list[dict[str, Any]] = []
    size = 0
    for log in found:
        size = 0
        for block in blocks(directory / log.name):
            scan.add(block)
            size += len(block)
            if _SYSTEM in block:
                said += [json.loads(line) for line in block.splitlines() if _SYSTEM in line]
    cursors = {name: Cursor(one.last, one.lines) for name, one in scan.producers.items()}
    standing = Checkpoint(*key, rotations=max((log.number for log in found), default=0), cursors=cursors)
    if found and found[-1].current:
        standing = _in_file(fs, standing, logs, directory, found[-1], size)
    return standing, _unsettled(key, said)


def _unsettled(key: Key, said: list[dict[str, Any]]) -> Unsettled | None:
    """Return what the system's own lines say of a run's result."""
    document, seals = None, {}
    for line in said:
        fields = {name: value for name, value in line.items() if name not in _OF_A_LINE}
        if line.get("event") == RESULT and is_of_run(fields, key):
            document = newest(document, fields)
        elif line.get("event") == SEAL:
            time_ns = int(datetime.fromisoformat(line["time"]).timestamp() * 1_000_000) * 1000
            seals[fields["producer"]] = {**fields, "time_ns": time_ns}
    return Unsettled(key.experiment, key.run, document, seals) if document or seals else None


def _in_file(fs: FileSystem, standing: Checkpoint, logs: Path, directory: Path, log: LogName, size: int) -> Checkpoint:
    path = directory / log.name
    # Its lines count as written from now on, and nobody knows which of them were synced.
    ours = LogFile(fs, path, fs.open(path, os.O_RDWR | os.O_NONBLOCK), way_to(path, logs.parent))
    try:
        ours.sync(size)
    finally:
        ours.close()
    with path.open("rb") as file:
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read(min(size, TAIL_BYTES))
    status = fs.lstat(path)
    return Checkpoint(
        standing.experiment,
        standing.run,
        standing.kind,
        name=log.name,
        inode=status.st_ino,
        offset=size,
        tail=tail,
        variant=log.variant,
        rotations=standing.rotations,
        created_ns=status.st_mtime_ns,
        cursors=standing.cursors,
    )


def _text(directory: Path, host: str, key: Key) -> Checkpoint:
    """Begin the text rendering in a new file, because its lines carry no numbers."""
    names = [path.name for path in directory.glob("*")] if directory.is_dir() else []
    logs = [log for log in in_order(names, "text") if log.host == host]
    return Checkpoint(*key, variant=max((log.variant + 1 for log in logs), default=1))
