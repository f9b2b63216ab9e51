"""Emptying the trash: runs that people removed (`logferry rm`) go for good, with their results and running logs."""

from __future__ import annotations

import shutil
from pathlib import Path

from logferry import edits
from logferry.layout import Home, safe_component
from logferry.results import RUNNING, ResultError, read


def empty(home: Home) -> tuple[list[str], dict[str, str]]:
    """Delete what lies in the trash; return what is gone, and what could not be deleted and why.

    A run whose result stands in a file with others stays marked as removed: the mark is what hides it.
    """
    gone: list[str] = []
    failed: dict[str, str] = {}
    for run in list(edits.trash(home)):
        try:
            gone += _delete(home, *(safe_component(one, "id") for one in run))
        except (OSError, ValueError) as error:
            failed["/".join(run)] = getattr(error, "strerror", None) or str(error)
    return gone, failed


def _delete(home: Home, experiment_id: str, run_id: str) -> list[str]:
    result, logs = home.result(experiment_id, run_id), home.run_logs(experiment_id, run_id)
    # By name, not by pattern: an id may hold the signs of one.
    beside = [path for path in result.parent.iterdir() if path.name.startswith(f"{run_id}.part-")]
    marks = [path for path in beside if edits.MARK in path.name]
    if not edits.removed(marks):  # taken out while others were deleted
        return []
    gone = [str(path) for path in (result, *beside, logs) if path.exists() and path not in marks]
    stands_alone = result.exists()
    if _is_running(result):
        raise ValueError("it runs again; take it out with: logferry rm --restore")
    if logs.is_dir() and not logs.is_symlink():
        shutil.rmtree(logs)
    for path in beside:
        if path not in marks:
            path.unlink(missing_ok=True)
    result.unlink(missing_ok=True)
    for path in marks if stands_alone else ():
        path.unlink(missing_ok=True)
    return gone


def _is_running(result: Path) -> bool:
    try:
        return read(result).get("status") == RUNNING
    except (OSError, ResultError):
        return False
