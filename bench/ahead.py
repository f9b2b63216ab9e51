"""What is measured on, made ahead of time: directories that go with the process at the latest.

A group's `prepare` makes what the group reads later, once: the group itself calls it, and before that the crowd,
which has minutes of silence to fill.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def scratch() -> Path:
    """Make a directory of this process's own."""
    path = Path(tempfile.mkdtemp(prefix="lf-bench-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
