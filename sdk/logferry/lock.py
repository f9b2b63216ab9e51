"""The lock of what the threads of a job share; at the interpreter's end nobody waits for it.

Daemon threads stop there at the next instruction, whatever they hold, and never run again; what the main thread still
takes down may log. A lock held by one of them would then keep the process for ever.
"""

from __future__ import annotations

import threading
from sys import is_finalizing
from types import TracebackType


class Lock:
    """Reentrant, because a signal's handler or a destructor may log while its thread is inside."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not is_finalizing():  # then there is one thread left
            self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not is_finalizing():
            self._lock.release()
