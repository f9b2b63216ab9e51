"""A memory cgroup of a test's own, where the machine lets this user make one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from logferry import cgroup


@contextlib.contextmanager
def small(name: str, limit_bytes: int) -> Iterator[Path | None]:
    """Yield the directory of a cgroup with so much memory, and none to swap to; None where none can be made."""
    own = cgroup.own()
    made = None
    try:
        if own is not None:
            made = Path(own.path) / name
            made.mkdir()
            old = (made / "memory.limit_in_bytes").exists()
            (made / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit_bytes))
            with contextlib.suppress(OSError):
                (made / ("memory.swappiness" if old else "memory.swap.max")).write_text("0")
    except OSError:
        made = _gone(made)
    try:
        yield made
    finally:
        _gone(made)


def inside(directory: Path, code: str) -> list[str]:
    """Return the command of a Python program that runs in a cgroup."""
    join = f"open({str(directory / 'cgroup.procs')!r}, 'w').write('0')\n"
    return [sys.executable, "-c", join + code]


def _gone(directory: Path | None) -> None:
    with contextlib.suppress(OSError):
        if directory is not None:
            directory.rmdir()
