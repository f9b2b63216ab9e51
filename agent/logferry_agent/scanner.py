"""Finds the lines of running logs that may be wanted, without looking at the others: blocks are searched, not lines.

Only what is hit is taken apart, so that searching costs what reading costs. Blocks are searched by the C library's
`strstr`: `bytes.find` takes up to three times as long, and so does `memmem`, of which there is no version for newer
processors and which takes twice as long to call.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterable

from logferry_agent.needles import Needles, in_line

# Returns the lines of a block of whole lines that may be wanted.
Hits = Callable[[bytes], bytes]
# A line of the agent's begins with the first; its time is here.
_BEFORE_TIME = b'{"time":"'
_TIME = slice(len(_BEFORE_TIME), len(_BEFORE_TIME) + len("2025-07-30T13:00:05.000000Z"))
# In a block, lines with the texts of the group that is looked for but not with those of the others.
_MANY_MISSED = 16

# `PyDLL` keeps the interpreter's lock: to let go of it takes longer than to find what is near.
_strstr = ctypes.PyDLL(None).strstr
_strstr.restype = ctypes.c_void_p
_strstr.argtypes = ctypes.c_void_p, ctypes.c_char_p


def every(block: bytes) -> bytes:
    return block


def holding(needles: Needles) -> Hits:
    """Return what finds the lines that hold a text of each group; all lines where there is no group.

    A group is left out in which `strstr` would end before the end of a text: what it would find is not all.
    """
    groups = [texts for texts in needles.groups if not any(b"\0" in text for text in texts)]
    return _Holding(needles._replace(groups=groups)) if groups else every


def matching(pattern: re.Pattern[str], needles: Needles) -> Hits:
    """Return what finds lines that match, as they lie in the file, among those with the needles."""
    hits = holding(in_line(pattern.pattern) + needles)

    def found(block: bytes) -> bytes:
        return _joined(line for line in _lines(hits(block)) if pattern.search(line.decode("utf-8", "replace")))

    return found


def from_time(hits: Hits, since: str) -> Hits:
    """Return what leaves out those hits that are too early, as far as that is seen without taking lines apart."""
    if not since:
        return hits
    least = since.encode()

    def found(block: bytes) -> bytes:
        lines = _lines(hits(block))
        return _joined(line for line in lines if line[_TIME] >= least or not line.startswith(_BEFORE_TIME))

    return found


def _lines(block: bytes) -> list[bytes]:
    return block.split(b"\n")[:-1]


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"\n".join([*lines, b""])


class _Holding:
    """Looks for the texts of one group, the rarest, and for the others' in the lines that are found."""

    def __init__(self, needles: Needles) -> None:
        self._groups, self._folded = needles

    def __call__(self, block: bytes) -> bytes:
        # `strstr` ends at a zero byte; no needle has the byte that stands for it here.
        searched = (block.lower() if self._folded else block).replace(b"\0", b"\xff")
        sought, *others = self._groups
        spans = _spans(searched, sought)
        if others and spans:
            found = [span for span in spans if _has_all(searched[slice(*span)], others)]
            if len(spans) - len(found) > _MANY_MISSED:
                self._groups = sorted(self._groups, key=lambda texts: sum(map(block.count, texts)))
            spans = found
        return b"".join([block[start:end] for start, end in spans])


def _has_all(line: bytes, groups: list[list[bytes]]) -> bool:
    return all(any(text in line for text in texts) for texts in groups)


def _spans(block: bytes, texts: list[bytes]) -> list[tuple[int, int]]:
    """Return where the lines that hold one of the texts begin and end, in order."""
    if len(texts) == 1:
        return _spans_of(block, texts[0])
    return sorted({span for text in texts for span in _spans_of(block, text)})


def _spans_of(block: bytes, text: bytes) -> list[tuple[int, int]]:
    spans = []
    find, rfind = block.find, block.rfind
    start = ctypes.cast(ctypes.c_char_p(block), ctypes.c_void_p).value or 0
    end = 0
    while (found := _strstr(start + end, text)) is not None:
        at = found - start
        end = find(b"\n", at) + 1 or len(block)
        spans.append((rfind(b"\n", 0, at) + 1, end))
    return spans
