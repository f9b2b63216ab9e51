"""Retention: files of running logs that are old, many or large go, and what they held is written down first.

`logs/<experiment>/<run>/<host>.pruned` has one JSON line for every file that was removed::

    {"time": …, "file": name, "producers": {producer: [[first, last], …]}, "system": [lines]}

`system` are the file's seals and gap markers, whole. The line is synced before the file is unlinked; so `verify` knows
what was there, and counts it as `pruned`. A file that lines may still be written to is never removed.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from logferry.cli import FINE, NO, Parser, printable, say, settings_of
from logferry.events import GAP
from logferry.killpoints import passed
from logferry.layout import Home, NodeDir, host_name, prepare_node_dir
from logferry.settings import Settings
from logferry_agent import config as configuration
from logferry_agent import node_lock, trash
from logferry_agent.asking import ask
from logferry_agent.config import AgentConfig
from logferry_agent.content import UNREADABLE, blocks
from logferry_agent.fs import FileSystem, said, write_all
from logferry_agent.lines import time_text
from logferry_agent.logset import RunLogs, listed
from logferry_agent.rotation import LogFile, expired, in_order
from logferry_agent.scan import AGENT_NAME, SEAL, Scan, system_lines
from logferry_agent.state import Key, State, without_file

# An agent answers when it is through with all files.
_PATIENCE_S = 600.0
# (experiment, run, name) of each file that lines may still be written to
InUse = AbstractSet[tuple[str, str, str]]


def condemned(
    home: Home, host: str, config: AgentConfig, now_ns: int, in_use: InUse | None
) -> tuple[list[LogFile], dict[Path, OSError]]:
    """Return which of this host's running logs the retention removes, and what it cannot look at, with the reason.

    Without `in_use` no unrotated one is removed.
    """
    if config.keep_files is None and config.keep_age_s is None and config.keep_bytes is None:
        return [], {}
    found, failed = listed(home)
    files = []
    for run, names in found:
        for log in [*in_order(names), *in_order(names, "text")]:
            path = run.path / log.name
            try:
                status = path.lstat()
            except FileNotFoundError:  # rotated or compressed meanwhile
                continue
            except OSError as error:
                failed[path] = error
                continue
            if log.host == host and stat.S_ISREG(status.st_mode):
                active = log.current if in_use is None else (run.experiment, run.run, log.name) in in_use
                files.append(LogFile(path, status.st_size, status.st_mtime_ns, active, log))
    return expired(files, now_ns, config.keep_files, config.keep_age_s, config.keep_bytes), failed


def key_of(file: LogFile) -> Key:
    return Key(file.path.parent.parent.name, file.path.parent.name, file.name.kind)


def remove(fs: FileSystem, file: LogFile, now_ns: int) -> None:
    """Write down what a file held, and unlink it.

    Raises:
        FileNotFoundError: it was compressed meanwhile, and goes next time by its new name.
        UNREADABLE: it cannot be read or removed.

    """
    if file.name.kind == "jsonl":
        _write_down(fs, file.path.parent / f"{file.name.host}.pruned", summary(file.path, now_ns))
        passed("prune.noted")
    fs.unlink(file.path)
    passed("prune.done")


def summary(path: Path, now_ns: int) -> dict[str, Any]:
    """Return what is written down of a file that goes."""
    scan, system = Scan(), []
    for block in blocks(path):
        scan.add(block)
        system += [line for line in system_lines(block) if line["event"] in {GAP, SEAL}]
    ranges = {name: found.ranges for name, found in scan.producers.items() if name != AGENT_NAME}
    return {"time": time_text(now_ns), "file": path.name, "producers": ranges, "system": system}


def pruned(run: RunLogs) -> list[dict[str, Any]]:
    """Return what was written down of a run's removed files, in the order in which they went."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(name for name in os.listdir(run.path) if name.endswith(".pruned")):
        for block in blocks(run.path / name):
            for known in filter(None, map(_note, block.splitlines())):
                # a crash after the line was written has it written again
                found[json.dumps([name, known["file"], known["producers"]])] = known
    return list(found.values())


def _note(line: bytes) -> dict[str, Any] | None:
    """Return what a line says of a removed file; None for one that a crash cut short: its file is still there."""
    try:
        known = json.loads(line)
        ranges = [pair for found in known["producers"].values() for pair in found]
        sound = isinstance(known["file"], str) and all(isinstance(line, dict) for line in known["system"])
        return (
            known
            if sound and all(isinstance(number, int) for first, last in ranges for number in (first, last))
            else None
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _write_down(fs: FileSystem, path: Path, what: dict[str, Any]) -> None:
    """Append a line and make it safe, whatever earlier attempts left: a part of it, or zeros after a failed sync."""
    fd = fs.open(path, os.O_RDWR | os.O_CREAT)
    try:
        found = fs.fstat(fd)
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, "has another name, which may be somebody else's file; remove it", str(path))
        size = found.st_size
        write_all(fs, fd, [b"\n" if size else b"", json.dumps(what).encode() + b"\n"], size)
        passed("prune.written")
        fs.fsync(fd)
    finally:
        fs.close(fd)
    # Always, because whoever made the file may have come no further than that.
    fs.sync_directory(path.parent)


def prune(arguments: list[str]) -> int:
    """Verb: apply the retention and empty the trash now. A running agent does the first, which knows what is in use."""
    parser = Parser("prune")
    parser.add_argument("--json", action="store_true", help="print the removed files as JSON")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    answer = ask(settings, "prune", {}, _PATIENCE_S)
    if answer is None:
        try:
            answer = _without_agent(settings, prepare_node_dir(settings.node_dir))
        except (OSError, sqlite3.Error, node_lock.AlreadyRunningError) as error:
            answer = {"error": str(error)}
    emptied, kept = trash.empty(Home(settings.home))
    gone, failed = answer.get("removed", []) + emptied, answer.get("failed", {}) | kept
    if "error" in answer:
        say(f"logferry prune: {printable(answer['error'])}")
    for path, reason in failed.items():
        say(f"logferry prune: {printable(path)} stays: {printable(reason)}")
    if options.json:
        print(json.dumps({"removed": gone, "failed": failed}))
    else:
        print("\n".join([*(f"removed {printable(path)}" for path in gone), f"{len(gone)} files removed"]))
    return NO if failed or "error" in answer else FINE


def _without_agent(settings: Settings, node: NodeDir) -> dict[str, Any]:
    """Do it under the node's lock, as the agent would."""
    fs, config, now_ns = FileSystem(), configuration.load(settings.config), time.time_ns()
    lock = node_lock.take(node.lock)
    state = State(node.state, now_ns) if node.state.exists() else None
    gone: list[str] = []
    try:
        in_use = state.current_files() if state else None
        files, unlisted = condemned(Home(settings.home), host_name(), config, now_ns, in_use)
        failed = {str(path): said(error) for path, error in unlisted.items()}
        for file in files:
            try:
                if state:
                    _leave(state, file)
                remove(fs, file, now_ns)
                gone.append(str(file.path))
            except UNREADABLE as error:
                failed[str(file.path)] = said(error)
    finally:
        if state:
            state.close()
        os.close(lock)
    return {"removed": gone, "failed": failed}


def _leave(state: State, file: LogFile) -> None:
    """Commit that an output's next line goes to a new file, where `file` is its current one."""
    checkpoint = state.checkpoint(key_of(file))
    if checkpoint and checkpoint.name == file.path.name:
        state.commit([without_file(checkpoint)], [], state.dispatched())
