"""Memory that the C library keeps for itself after a load is given back once little comes.

With a thousand producers most of it is ZeroMQ's: a frame's bytes are freed by another thread than the one that took
them, so they lie scattered, and glibc alone gives back only what is free at the very end of a heap. Of the heaps that
it makes for threads it keeps that too, up to 64 MiB of each, and malloc_trim(3) does not look there: so all threads
share the first heap.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

# In one round of upkeep. Under load the pages would soon be taken again, and faulted in one by one.
_LITTLE_BYTES = 256 << 10
# Three minutes: in the first the files of silent runs are closed, after two their producers let their connections go.
_ROUNDS = 36
# malloc.h
_ARENA_MAX = -8
# Some Pythons are built without ctypes, and some C libraries know no way: then they keep what they like.
_NO_WAY = (ImportError, OSError, AttributeError)


class Slack:
    """Knows from the journal's position, told once in a round, when there may be something to give back."""

    def __init__(self) -> None:
        self._last = self._still = 0

    def is_due(self, position: int) -> bool:
        """Say whether little came in this round, and anything in the last minutes."""
        came, self._last = position - self._last, position
        self._still = 0 if came else self._still + 1
        return came < _LITTLE_BYTES and self._still <= _ROUNDS


def share_one_heap() -> None:
    """Have all threads take memory from one heap; to be called before there are any."""
    with contextlib.suppress(*_NO_WAY):
        _library().mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give back what is free, a page or more at a stretch.

    Other threads run meanwhile: milliseconds after a load, a fraction of one where there is little to find.
    """
    with contextlib.suppress(*_NO_WAY):
        _library().malloc_trim(0)


@functools.cache
def _library() -> Any:
    import ctypes  # noqa: PLC0415 - not everywhere

    return ctypes.CDLL(None)
