"""Retention: files of running logs that are old, many or large go, and what they held is written down first.

`logs/<experiment>/<run>/<host>.pruned` has one JSON line for every file that was removed::

    {"time": …, "file": name, "producers": {producer: [[first, last], …]}, "system": [lines]}

`system` are the file's seals and gap markers, whole. The line is synced before the file is unlinked; so `verify` knows
what was there, and counts it as `pruned`. A file that lines may still be written to is never removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from logferry.cli import FINE, NO, Parser, printable, settings_of
from logferry.events import SYSTEM_PREFIX
from logferry.layout import Home, NodeDir, host_name
from logferry_agent import config as configuration
from logferry_agent.config import AgentConfig
from logferry_agent.fs import FileSystem
from logferry_agent.lines import time_text
from logferry_agent.logset import RunLogs, blocks, runs
from logferry_agent.rotation import LogFile, expired, in_order, parse_name
from logferry_agent.scan import AGENT_NAME, Scan

_SYSTEM = f'"event":"{SYSTEM_PREFIX}'.encode()
IsCurrent = Callable[[str, str, str], bool]


def files_of(home: Home, host: str, is_current: IsCurrent) -> list[LogFile]:
    """Return this host's running logs, of all runs."""
    found = []
    for run in runs(home):
        names = os.listdir(run.path)
        for log in [*in_order(names), *in_order(names, "text")]:
            path = run.path / log.name
            try:
                status = path.lstat()
            except FileNotFoundError:  # rotated or compressed meanwhile
                continue
            if log.host == host:
                active = is_current(run.experiment, run.run, log.name)
                found.append(LogFile(path, status.st_size, status.st_mtime_ns, active, log))
    return found


def prune_home(
    fs: FileSystem, home: Home, host: str, config: AgentConfig, now_ns: int, is_current: IsCurrent
) -> list[Path]:
    """Apply the retention; return what was removed.

    Raises:
        OSError: something could not be removed; what was removed before is written down.

    """
    if config.keep_files is None and config.keep_age_s is None and config.keep_bytes is None:
        return []
    files = files_of(home, host, is_current)
    gone = []
    for file in expired(files, now_ns, config.keep_files, config.keep_age_s, config.keep_bytes):
        # compressed meanwhile: it goes next time, by its new name
        with contextlib.suppress(FileNotFoundError):
            if file.name.kind == "jsonl":
                _write_down(fs, file.path.parent / f"{host}.pruned", summary(file.path, now_ns))
            fs.unlink(file.path)
            gone.append(file.path)
    return gone


def summary(path: Path, now_ns: int) -> dict[str, Any]:
    """Return what is written down of a file that goes."""
    scan, system = Scan(), []
    for block in blocks(path):
        scan.add(block)
        if _SYSTEM in block:
            system += [json.loads(line) for line in block.splitlines() if _SYSTEM in line]
    ranges = {name: found.ranges for name, found in scan.producers.items() if name != AGENT_NAME}
    kept = [line for line in system if str(line.get("event")).startswith(SYSTEM_PREFIX)]
    return {"time": time_text(now_ns), "file": path.name, "producers": ranges, "system": kept}


def pruned(run: RunLogs) -> list[dict[str, Any]]:
    """Return what was written down of a run's removed files, in the order in which they went."""
    found = []
    for path in sorted(run.path.glob("*.pruned")):
        for line in path.read_bytes().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # a line that a crash cut short: its file is still there
                continue
    return found


def _write_down(fs: FileSystem, path: Path, what: dict[str, Any]) -> None:
    is_new = not path.exists()
    fd = fs.open(path, os.O_RDWR | os.O_CREAT)
    try:
        size = fs.fstat(fd).st_size
        broken = size and fs.pread(fd, 1, size - 1) != b"\n"
        data = (b"\n" if broken else b"") + json.dumps(what).encode() + b"\n"
        while data:
            done = fs.pwrite(fd, data, size)
            data, size = data[done:], size + done
        fs.fsync(fd)
    finally:
        fs.close(fd)
    if is_new:
        fs.sync_directory(path.parent)


def prune(arguments: list[str]) -> int:
    """Verb: apply the retention of the configuration now, whether an agent runs or not.

    The checkpoints say which files are in use, and the agent takes a file that went for one that went.
    """
    parser = Parser("prune")
    parser.add_argument("--json", action="store_true", help="print the removed files as JSON")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    home, node = Home(settings.home), NodeDir(settings.node_dir)
    config = configuration.load(settings.config)
    try:
        gone = prune_home(FileSystem(), home, host_name(), config, time.time_ns(), _from_state(node))
    except OSError as error:
        print(f"logferry prune: {printable(str(error))}", file=sys.stderr)
        return NO
    if options.json:
        print(json.dumps({"removed": [str(path) for path in gone]}))
    else:
        print("\n".join([*(f"removed {printable(str(path))}" for path in gone), f"{len(gone)} files removed"]))
    return FINE


def _from_state(node: NodeDir) -> IsCurrent:
    """Return what `state.db` says of files in use; without one, every file that was not rotated counts as in use."""
    current: set[tuple[str, str, str]] | None = None
    if node.state.exists():
        db = sqlite3.connect(f"{node.state.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            rows = db.execute("SELECT experiment, run, name FROM outputs WHERE final = 0 AND name IS NOT NULL")
            current = set(rows.fetchall())
        finally:
            db.close()

    def is_current(experiment: str, run: str, name: str) -> bool:
        log = parse_name(name)
        return (experiment, run, name) in current if current is not None else log is None or log.current

    return is_current
