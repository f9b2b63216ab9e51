"""Whether the process that a hello speaks of still runs on this machine."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any


def is_running(about: dict[str, Any], proc: Path = Path("/proc")) -> bool:
    """Say whether the process is there, told from a later one with its number by boot id and start time."""
    boot = _boot_id(proc)
    if boot and about.get("boot_id") not in {boot, None, ""}:
        return False
    stat = _text(proc / str(about["pid"]) / "stat")
    fields = stat[stat.rfind(")") + 2 :].split()
    if len(fields) < 20 or fields[0] in {"Z", "X"}:
        return False
    return about.get("pid_start") in {None, 0, int(fields[19])}


@functools.cache
def _boot_id(proc: Path) -> str:
    return _text(proc / "sys/kernel/random/boot_id").strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
