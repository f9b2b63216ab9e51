"""Emptying the trash: runs that people removed (`logferry rm`) go for good, with their results and running logs.

Order, so that a death at any step leaves nothing behind that nobody finds again: running logs and parts → the result is
renamed to `.<run_id>.gone`, and its directory synced → the edits, one of which hides it, and a sync → that file. From
the renaming on the run is gone: whoever empties the trash next takes away what is left of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from logferry import edits
from logferry.killpoints import passed
from logferry.layout import Home, safe_component
from logferry.results import RUNNING, ResultError, read
from logferry_agent.fs import FileSystem

_GONE = ".gone"
_Run = tuple[str, str]


def empty(home: Home) -> tuple[list[str], dict[str, str]]:
    """Delete what lies in the trash; return what is gone, and what could not be deleted and why.

    A run whose result stands in a file with others stays marked as removed: the mark is what hides it.
    """
    gone: list[str] = []
    failed: dict[str, str] = {}
    for run in dict.fromkeys([*edits.trash(home), *_begun(home)]):
        try:
            gone += _delete(home, *(safe_component(one, "id") for one in run))
        except (OSError, ValueError) as error:
            failed["/".join(run)] = getattr(error, "strerror", None) or str(error)
    return gone, failed


def _begun(home: Home) -> Iterator[_Run]:
    for path in sorted(home.results.glob(f"*/.*{_GONE}")):
        yield path.parent.name, path.name[1:].removesuffix(_GONE)


def _delete(home: Home, experiment_id: str, run_id: str) -> list[str]:
    result, logs = home.result(experiment_id, run_id), home.run_logs(experiment_id, run_id)
    hidden = result.with_name(f".{run_id}{_GONE}")
    # By name, not by pattern: an id may hold the signs of one.
    beside = [path for path in result.parent.iterdir() if path.name.startswith(f"{run_id}.part-")]
    marks = [path for path in beside if edits.MARK in path.name]
    is_begun = os.path.lexists(hidden)
    gone = [str(result)] if is_begun else []
    if (result.exists() or not is_begun) and edits.removed(marks):  # else taken out while others were deleted
        if _is_running(result):
            raise ValueError("it runs again; take it out with: logferry rm --restore")
        parts = [path for path in beside if path not in marks]
        gone = [str(path) for path in (result, *parts, logs) if path.exists()]
        _unlink_around(logs, parts)
        passed("trash.bare")
        if result.exists():
            result.rename(hidden)
            FileSystem().sync_directory(result.parent)
            passed("trash.hidden")
            is_begun = True
    if is_begun:
        _finish(hidden, [] if result.exists() else marks)
    return gone


def _unlink_around(logs: Path, parts: list[Path]) -> None:
    if logs.is_dir() and not logs.is_symlink():
        shutil.rmtree(logs)
    for path in parts:
        path.unlink(missing_ok=True)


def _finish(hidden: Path, marks: list[Path]) -> None:
    for path in marks:
        path.unlink(missing_ok=True)
    FileSystem().sync_directory(hidden.parent)
    passed("trash.unmarked")
    hidden.unlink(missing_ok=True)


def _is_running(result: Path) -> bool:
    try:
        return read(result).get("status") == RUNNING
    except (FileNotFoundError, ResultError):
        return False
