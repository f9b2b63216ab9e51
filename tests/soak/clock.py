"""Clocks that jump: the processes of a soak add to the wall clock what a shared file says, and a skew of their own.

Only `time.time` and `time.time_ns` are moved; the kernel's clock, which stamps files, is not: to the processes it is a
file server whose clock differs. Each process gets it by a `sitecustomize` on its PYTHONPATH.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

_FILE, _SKEW = "SOAK_CLOCK", "SOAK_SKEW_S"


class Clock:
    """The shared offset."""

    def __init__(self, root: Path) -> None:
        self._path, self._site = root / "clock", root / "site"
        self._path.write_bytes(bytes(8))
        with self._path.open("r+b") as file:
            self._offset_ns = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._site.mkdir()
        here = str(Path(__file__).parent)
        (self._site / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({here!r})\nimport clock\nclock.install()\nsys.path.remove({here!r})\n"
        )

    def environment(self, skew_s: int = 0) -> dict[str, str]:
        return {"PYTHONPATH": str(self._site), _FILE: str(self._path), _SKEW: str(skew_s)}

    def shift(self, seconds: int) -> None:
        self._offset_ns[0] = seconds * 1_000_000_000


def install() -> None:
    """Move this process's wall clock."""
    with open(os.environ[_FILE], "rb") as file:
        shared = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("q")
    skew_ns, real = int(os.environ[_SKEW]) * 1_000_000_000, time.time_ns

    def time_ns() -> int:
        return real() + shared[0] + skew_ns

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
