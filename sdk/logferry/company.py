"""How many producers a node has, and for how long each of them therefore gathers events before it ships them."""

from __future__ import annotations

import os
from pathlib import Path

_ALONE_S = 0.005
# All producers of a node together ship about 33 batches a second, until that would make one wait for too long.
_SHARE_S = 0.03
_LONGEST_S = 0.25


def company(spool_root: Path) -> int:
    """Return how many producers have a spool there; 1 where the file system does not count a directory's children."""
    try:
        return max(1, os.stat(spool_root).st_nlink - 2)
    except OSError:
        return 1


def batch_s(producers: int) -> float:
    """Return for how long a producer gathers events, in seconds, where its node has so many producers."""
    return _ALONE_S if producers < 2 else min(_SHARE_S * producers, _LONGEST_S)
