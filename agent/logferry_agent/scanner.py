"""Finds the lines of running logs that may be wanted, without looking at the others: blocks are searched, not lines.

Only what is hit is taken apart, so that searching costs what reading costs. Blocks are searched by the C library's
`memmem`: `bytes.find` takes two to three times as long, for some texts longer than all the rest.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterable, Iterator

from logferry_agent.needles import Needles, in_line

# Finds the lines of a block of whole lines that may be wanted.
Hits = Callable[[bytes], Iterable[bytes]]
# In a block, lines with the texts of the group that is looked for but not with those of the others.
_MANY_MISSED = 16

_memmem = ctypes.CDLL(None).memmem
_memmem.restype = ctypes.c_void_p
_memmem.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t


def every(block: bytes) -> Iterable[bytes]:
    return block.split(b"\n")[:-1]


def holding(needles: Needles) -> Hits:
    """Return what finds the lines that hold a text of each group; all lines where there is no group."""
    return _Holding(needles) if needles.groups else every


def matching(pattern: re.Pattern[str], needles: Needles) -> Hits:
    """Return what finds lines that match, as they lie in the file, among those with the needles."""
    hits = holding(in_line(pattern.pattern) + needles)
    return lambda block: (line for line in hits(block) if pattern.search(line.decode("utf-8", "replace")))


class _Holding:
    """Looks for the texts of one group, the rarest, and for the others' in the lines that are found."""

    def __init__(self, needles: Needles) -> None:
        self._groups, self._folded = needles

    def __call__(self, block: bytes) -> Iterator[bytes]:
        searched = block.lower() if self._folded else block
        sought, *others = self._groups
        missed = 0
        for start, end in _spans(searched, sought):
            if others and not _has_all(searched[start:end], others):
                missed += 1
                continue
            yield block[start:end]
        if missed > _MANY_MISSED:
            self._groups = sorted(self._groups, key=lambda texts: sum(map(block.count, texts)))


def _has_all(line: bytes, groups: list[list[bytes]]) -> bool:
    return all(any(text in line for text in texts) for texts in groups)


def _spans(block: bytes, texts: list[bytes]) -> Iterable[tuple[int, int]]:
    """Return where the lines that hold one of the texts begin and end, in order."""
    if len(texts) == 1:
        return _spans_of(block, texts[0])
    return sorted({span for text in texts for span in _spans_of(block, text)})


def _spans_of(block: bytes, text: bytes) -> Iterator[tuple[int, int]]:
    size, length = len(block), len(text)
    base = ctypes.cast(ctypes.c_char_p(block), ctypes.c_void_p).value or 0
    found = _memmem(base, size, text, length)
    while found is not None:
        end = block.find(b"\n", found - base)
        yield block.rfind(b"\n", 0, found - base) + 1, end
        found = _memmem(base + end + 1, size - end - 1, text, length)
