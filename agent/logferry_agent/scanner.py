"""Finds the lines of running logs that hold a text, without looking at the others: blocks are searched, not lines.

Only what is hit is taken apart, so that searching costs what reading costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import orjson

# Finds the lines of a block of whole lines that may be wanted.
Hits = Callable[[bytes], Iterable[bytes]]
# Characters that stand for themselves in a regular expression, in JSON and in the text form of a line alike.
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\{[^}]*\}|.", re.DOTALL)
# What is behind any other letter or digit that is escaped may belong to it, as in \x41.
_WITHOUT_ARGUMENT = frozenset("AbBdDsSwWZ")
# Escapes of control characters, which the text form has and JSON may not have.
_ESCAPE = re.compile(r"u[0-9a-f]|^[0-9a-f]{1,4}$")
_MIN_LITERAL = 2


def every(block: bytes) -> Iterable[bytes]:
    return block.splitlines()


def containing(text: str) -> Hits:
    """Return what finds lines in which `text` stands as JSON writes it."""
    needle = orjson.dumps(text)[1:-1]
    return lambda block: _containing(block, needle)


def _containing(block: bytes, needle: bytes) -> Iterator[bytes]:
    at = block.find(needle)
    while 0 <= at < len(block):
        end = block.find(b"\n", at)
        yield block[block.rfind(b"\n", 0, at) + 1 : end]
        at = block.find(needle, end + 1)


def matching(pattern: re.Pattern[str]) -> Hits:
    """Return what finds lines that match, as they lie in the file."""
    return lambda block: _matching(block.decode("utf-8", "replace"), pattern)


def _matching(text: str, pattern: re.Pattern[str]) -> Iterator[bytes]:
    found = pattern.search(text)
    while found and found.start() < len(text):
        start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.start())
        line = text[start:end]
        if found.end() <= end or pattern.search(line):  # a match over several lines is none, unless it begins one
            yield line.encode()
        found = pattern.search(text, end + 1)


def required(pattern: str) -> str:
    """Return a text that stands in every line whose text form matches `pattern`; empty where none is known."""
    if set(pattern) & set("|()"):
        return ""
    runs = [""]
    for token in _TOKEN.findall(pattern):
        if _PLAIN.fullmatch(token):
            runs[-1] += token
            continue
        if token[0] == "\\" and token[1:].isalnum() and token[1] not in _WITHOUT_ARGUMENT:
            return ""
        if token[0] in "*?{":  # what is before it need not be there
            runs[-1] = runs[-1][:-1]
        runs.append("")
    longest = max(runs, key=len)
    return longest if len(longest) >= _MIN_LITERAL and not _ESCAPE.search(longest) else ""
