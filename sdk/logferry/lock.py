"""The lock of what the threads of a job share; at the interpreter's end nobody waits for it.

Daemon threads stop there at the next instruction, whatever they hold, and never run again; what the main thread still
takes down may log. A lock held by one of them would then keep the process for ever.

It is Python's own in a `with` statement of its own: a method in between could be left by an exception that a signal's
handler raises, with the lock taken and nobody to release it.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from sys import is_finalizing
from typing import Any

# Reentrant, because a signal's handler or a destructor may log while its thread is inside.
Lock = threading.RLock
_NOTHING = nullcontext()


def held(lock: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """Return what a `with` statement holds a lock by."""
    return _NOTHING if is_finalizing() else lock  # then there is one thread left
