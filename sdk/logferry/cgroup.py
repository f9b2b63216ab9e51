"""The memory cgroup of a process: where it is, and how many processes the OOM killer has ended in it.

The kernel counts each process that it ends for want of memory in that process's own cgroup, whoever's limit it was:
in `memory.events.local` (`memory.events` before Linux 5.2) of the unified hierarchy, in `memory.oom_control` of the
older one. A count that rose while a process lived says more of its end than the bare signal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
_COUNTERS = ("memory.events.local", "memory.events", "memory.oom_control")
_MAX_BYTES = 4096


class Cgroup(NamedTuple):
    """A cgroup with a count; `inode` tells it from a later one of the same name."""

    path: str
    inode: int
    oom_kills: int


def own(proc: Path = Path("/proc/self/cgroup"), root: Path = ROOT) -> Cgroup | None:
    """Return the cgroup that this process's memory is counted in; None where the system says nothing of it."""
    try:
        lines = proc.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    # "4:memory:/jobs/7" of the older hierarchy, "0::/jobs/7" of the unified one
    paths = {line.split(":")[1]: line.split(":", 2)[2] for line in lines if line.count(":") > 1}
    older = next((path for controllers, path in paths.items() if "memory" in controllers.split(",")), None)
    top = root if older is None else root / "memory"
    leaf = top / (older or paths.get("", "/")).lstrip("/")
    # Where memory is not told apart so far down, or a container shows its own part of the tree only, it is one above.
    for directory in (leaf, *leaf.parents):
        if (found := at(directory, root)) is not None:
            return found
        if directory == top:
            break
    return None


def at(path: Path, root: Path = ROOT) -> Cgroup | None:
    """Return what a cgroup says; None where there is none (any more) or it counts nothing."""
    if not path.is_relative_to(root) or ".." in path.parts:
        return None
    for name in _COUNTERS:
        try:
            fd = os.open(path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # a producer may say what it likes, also a NUL
            continue
        try:
            fields = os.read(fd, _MAX_BYTES).split()
            return Cgroup(str(path), path.stat().st_ino, int(fields[fields.index(b"oom_kill") + 1]))
        except (OSError, ValueError, IndexError):
            continue
        finally:
            os.close(fd)
    return None
