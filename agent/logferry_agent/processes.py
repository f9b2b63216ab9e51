"""Whether the process that a hello speaks of still runs on this machine, and what /proc says of one that ended."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_ENDED = ("Z", "X")
# proc(5): fields of stat behind the name, from the state on
_STATE, _STARTED, _STATUS = 0, 19, 49


def is_running(about: dict[str, Any], proc: Path = _PROC) -> bool:
    """Say whether the process is there, told from a later one with its number by boot id and start time."""
    fields = _stat(about, proc)
    return bool(fields) and fields[_STATE] not in _ENDED


def zombie_status(about: dict[str, Any], proc: Path = _PROC) -> int | None:
    """Return the status of a process whose parent has not asked for it yet, as wait(2) gives it; else None."""
    fields = _stat(about, proc)
    if len(fields) <= _STATUS or fields[_STATE] not in _ENDED:
        return None
    return int(fields[_STATUS])


def _stat(about: dict[str, Any], proc: Path) -> list[str]:
    """Return what stat says of the process; nothing where it is gone or another one."""
    boot = boot_id(proc)
    if boot and about.get("boot_id") not in {boot, None, ""}:
        return []
    stat = _text(proc / str(about["pid"]) / "stat")
    fields = stat[stat.rfind(")") + 2 :].split()
    there = len(fields) > _STARTED and about.get("pid_start") in {None, 0, int(fields[_STARTED])}
    return fields if there else []


@functools.cache
def boot_id(proc: Path = _PROC) -> str:
    return _text(proc / "sys/kernel/random/boot_id").strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
