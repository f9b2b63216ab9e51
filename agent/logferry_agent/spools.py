"""One look at the directory of spools: whose lock is free, who lives and is not known yet, what cannot be read.

Blocking, but for `stamp`; runs on an executor. What a crash left half made or half deleted holds no events and is
cleared away in passing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logferry import spool

# What changes within one tick of the clock that stamps files may bear the same time; a tick is 10 ms at most.
_TICKS_NS = 100_000_000
# A directory that is being made is renamed within milliseconds; one that is older was left behind by a crash.
_ABANDONED_S = 60.0


@dataclass(slots=True)
class Seen:
    """What one look at the spool directory found; `stamp` is from before it."""

    stamp: int | None = None
    names: set[str] = field(default_factory=set)
    living: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    dead: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    failed: list[tuple[Path, OSError]] = field(default_factory=list)


def look(root: Path, busy: set[str], known: set[str]) -> Seen:
    """Try the lock of every spool that nobody is busy with."""
    seen = Seen(stamp(root))
    for name in os.listdir(root):
        if name.startswith("."):
            _clear_abandoned(root / name)
            continue
        seen.names.add(name)
        if name not in busy:
            _sort(root / name, seen, known)
    return seen


def stamp(root: Path) -> int | None:
    """Return what is another with every name that comes or goes; None so soon after one that the next may not show.

    Of a local file system, which shared memory asks for, the kernel knows it without a look at the disk: to have a
    thread ask costs far more than the question does.
    """
    changed_ns = os.stat(root).st_mtime_ns
    return None if abs(time.time_ns() - changed_ns) < _TICKS_NS else changed_ns


def _sort(path: Path, seen: Seen, known: set[str]) -> None:
    try:
        lock = spool.take_lock(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            seen.unreadable.append((path, "it has no lock file"))
        return
    except OSError as error:  # too many open files, say: that tells nothing of the spool
        seen.failed.append((path, error))
        return
    if lock is not None:
        os.close(lock)
        seen.dead.append(path)
    elif path.name not in known:
        with contextlib.suppress(OSError):  # looked at again
            about = read_about(path)
            if isinstance(about, dict):
                seen.living.append((path.name, about))


def read_about(path: Path) -> dict[str, Any] | spool.SpoolDamage:
    """Read what a spool says of its producer; an OSError says that it cannot be read now."""
    try:
        return spool.read_about(path)
    except OSError:
        raise
    except Exception as error:  # a checksum that holds does not make it msgpack
        return spool.SpoolDamage("checksum", path / "hello", f"{type(error).__name__}: {error}")


def _clear_abandoned(path: Path) -> None:
    """Remove a directory that was begun, or being deleted, when its process died: it holds no events."""
    try:
        if path.name.startswith(".gone-") or (path.name.startswith(".new-") and _is_abandoned(path)):
            shutil.rmtree(path)
    except OSError:  # nothing depends on it
        return


def _is_abandoned(path: Path) -> bool:
    if time.time() - path.lstat().st_mtime < _ABANDONED_S:
        return False
    try:
        lock = spool.take_lock(path)
    except FileNotFoundError:  # its process died before it made one
        return True
    if lock is not None:
        os.close(lock)
    return lock is not None
