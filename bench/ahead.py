"""What is measured on, made ahead of time: directories that go with the process at the latest.

A group's `prepare` makes what the group reads later, once: the group itself calls it, and before that the crowd,
which has minutes of silence to fill.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path


def scratch() -> Path:
    """Make a directory of this process's own."""
    path = Path(tempfile.mkdtemp(prefix="lf-bench-"))
    atexit.register(_give_up, path)
    return path


def _give_up(path: Path) -> None:
    """Remove a directory, and before it whoever an interrupted process leaves behind: a job would make it anew."""
    for pid in _children("self"):
        for job in _children(pid):
            with contextlib.suppress(OSError):
                os.kill(int(job), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(int(pid), signal.SIGKILL)
            os.waitpid(int(pid), 0)
    shutil.rmtree(path, ignore_errors=True)


def _children(pid: str) -> list[str]:
    found: list[str] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended
            found += children.read_text().split()
    return found
