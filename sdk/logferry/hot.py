"""What a log call reads of its run: a few fields that say whether it is taken, and how it is put down.

`threshold` is one integer that stands for three things: the run's level, the level below which events are shed because
the spool fills up, and (`ASLEEP`) that the shipper thread sleeps and the next call has to wake it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Above every level: each call goes through `admit`.
ASLEEP = FULL = 1 << 30


class Hot:
    """One object per run and process; its fields change, it never does."""

    __slots__ = ("admit", "append", "busy", "clock", "level", "pack", "threshold", "write")

    threshold: int
    level: int
    busy: bool  # a value's own code runs inside of `pack`: whoever comes meanwhile packs by himself
    clock: Callable[[], int]  # nanoseconds since the epoch
    pack: Callable[[Any], bytes]
    write: Callable[[bytes], Any]
    admit: Callable[[int], bool]
    append: Callable[[int, bytes], None]
