"""Whose batches are refused while the journal is over its budget. No I/O.

A journal grows because an output is held back (its disk is full, its file system hangs): then only the producers of
such runs are refused, and all others go on. Without such an output the writer is merely behind, and everybody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from logferry_agent.producers import Run


class Budget:
    """The answer for each run, from the last `refresh` on."""

    def __init__(self) -> None:
        self.over = False
        self._held: AbstractSet[Run] = frozenset()

    def refresh(self, used_bytes: int, limit_bytes: int, held_runs: Callable[[], AbstractSet[Run]]) -> None:
        self.over = used_bytes > limit_bytes
        self._held = held_runs() if self.over else frozenset()

    def full(self, run: Run) -> bool:
        return self.over and (not self._held or run in self._held)
