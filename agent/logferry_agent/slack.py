"""Memory that the C library keeps for itself after a load is given back once little comes.

With a thousand producers most of it is ZeroMQ's: a frame's bytes are freed by another thread than the one that took
them, so they lie scattered, and glibc alone gives back only what is free at the very end of a heap.
"""

from __future__ import annotations

# In one round of upkeep. Under load the pages would soon be taken again, and faulted in one by one.
_LITTLE_BYTES = 256 << 10
# Three minutes: in the first the files of silent runs are closed, after two their producers let their connections go.
_ROUNDS = 36


class Slack:
    """Knows from the journal's position, told once in a round, when there may be something to give back."""

    def __init__(self) -> None:
        self._last = self._still = 0

    def is_due(self, position: int) -> bool:
        """Say whether little came in this round, and anything in the last minutes."""
        came, self._last = position - self._last, position
        self._still = 0 if came else self._still + 1
        return came < _LITTLE_BYTES and self._still <= _ROUNDS


def give_back() -> None:
    """Give back what is free, a page or more at a stretch; nothing where the C library knows no way, as in musl.

    Other threads run meanwhile: milliseconds after a load, a fraction of one where there is little to find.
    """
    try:
        import ctypes  # noqa: PLC0415 - some Pythons are built without, and it takes memory itself

        ctypes.CDLL(None).malloc_trim(0)
    except (ImportError, OSError, AttributeError):
        return
