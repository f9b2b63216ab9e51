"""Pages of a mapped file, brought in ahead of the calls and let go behind them, without the interpreter's lock.

`mmap.madvise` and `mmap.close` keep that lock, so every thread of the job waits until they return: for 4 MiB that is
half a millisecond, or as long as the file system takes to find room in its journal. A function called by ctypes gives
the lock up meanwhile.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from collections.abc import Callable

# madvise(2); from Linux 5.14 on.
_POPULATE_WRITE = 23
_DONTNEED = 4

_madvise: Callable[[int, int, int], int] | None = None
with contextlib.suppress(ImportError, OSError, AttributeError):  # some Pythons are built without ctypes
    import ctypes

    if sys.platform == "linux":
        _prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        _madvise = _prototype(("madvise", ctypes.CDLL(None)))


def populate(mapping: mmap.mmap, start: int, stop: int) -> None:
    """Fault in the pages from `start`, where one begins, to `stop`, for writing if the kernel does that by itself."""
    with contextlib.suppress(ValueError):  # a call passed it over, and closed it meanwhile
        if not _advise(mapping, _POPULATE_WRITE, start, stop):
            for offset in range(start, stop, mmap.PAGESIZE):
                mapping[offset]  # only read: a call may have begun to write here meanwhile


def let_go(mapping: mmap.mmap) -> None:
    """Take the pages out of the process, so that unmapping them takes no time. What they hold stays in the file."""
    _advise(mapping, _DONTNEED, 0, len(mapping))


def _advise(mapping: mmap.mmap, advice: int, start: int, stop: int) -> bool:
    if _madvise is None:
        return False
    first = ctypes.c_char.from_buffer(mapping)  # as long as this is there, nobody can unmap it
    return _madvise(ctypes.addressof(first) + start, stop - start, advice) == 0
