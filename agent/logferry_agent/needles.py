"""What must stand in a line for a regular expression to match it: texts that are found without parsing the line.

A pattern is looked for in the text form of a line (text.py) or in the line itself. Needles are texts that every line
with a match holds as bytes, where the agent wrote the line. Of the text form they have the characters that stand for
themselves in JSON and in the text form alike and that are no punctuation of either.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import orjson

from logferry.layout import is_control

Pieces = Callable[[str], Iterable[str]]
# What JSON escapes, and what stands between the parts of a line in either form; blanks are treated apart.
_PUNCTUATION = frozenset('"\\[]:=,')
# The only blank of the text form between two other characters that JSON does not have: between date and time.
_DATE_AND_TIME = re.compile(r"(?<=[0-9]) (?=[0-9])")
# Escapes of the text form whose characters JSON has unescaped; a match may begin within one.
ESCAPED = [*range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = " ".join(f"u{code:04x}" for code in ESCAPED)
_LONGEST_ESCAPE = 5
# Also finds an escaped parenthesis: needles in lower case are right for any pattern, only more often found.
_IGNORES_CASE = re.compile(r"\(\?[a-zA-Z]*i")
# ASCII letters that match a character outside of ASCII where case is ignored: Kelvin, long s, dotless i.
_NO_CASE = re.compile(r"[^\x00-\x7f]|[iks]")
# Each is looked for by itself; with more of them it is as fast to look at the lines.
_MOST_CHOICES = 16


class Needles(NamedTuple):
    """Groups of texts: of each group, a line that is wanted holds at least one text."""

    groups: list[list[bytes]]
    folded: bool = False  # all in lower case, to be looked for in lines in lower case

    def __add__(self, other: Needles) -> Needles:  # type: ignore[override]
        if self.folded == other.folded:
            return Needles(self.groups + other.groups, self.folded)
        groups = [[text.lower() for text in texts] for texts in self.groups + other.groups]
        return Needles(groups, folded=True)


def literal(text: str) -> Needles:
    """Return the needle that is a text itself, as JSON writes it.

    Raises:
        ValueError: it has characters that JSON cannot have.

    """
    try:
        needle = orjson.dumps(text)[1:-1]
    except TypeError:
        raise ValueError(f"{text!a} is no UTF-8, which running logs are") from None
    return Needles([[needle]] if needle else [])


def in_text_form(pattern: str) -> Needles:
    """Return the needles of a valid regular expression that is looked for in the text form of lines."""
    return _needles(pattern, _text_pieces)


def in_line(pattern: str) -> Needles:
    """Return the needles of a valid regular expression that is looked for in lines as they are."""
    return _needles(pattern, lambda run: [run])


def _needles(pattern: str, pieces: Pieces) -> Needles:
    folded = _IGNORES_CASE.search(pattern) is not None
    with warnings.catch_warnings(action="ignore"):
        parsed = parser.parse(pattern, re.MULTILINE)
    groups = _groups(parsed, (lambda run: _folded(run, pieces)) if folded else pieces)
    return Needles([[text.encode("utf-8", "surrogatepass") for text in texts] for texts in groups], folded)


def _groups(parsed: Iterable[tuple[Any, Any]], pieces: Pieces) -> list[list[str]]:
    found: list[list[str]] = []
    run = ""
    for code, argument in [*parsed, (op.ANY, None)]:
        if code is op.LITERAL:
            run += chr(argument)
        elif code is not op.AT:  # which takes no room
            found += [[piece] for piece in pieces(run) if piece]
            run = ""
            found += _groups_of(code, argument, pieces)
    return found


def _groups_of(code: Any, argument: Any, pieces: Pieces) -> list[list[str]]:
    """Return the needles of one part of a pattern; none of what need not be there, or is not known."""
    if code in {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}:
        least, _, repeated = argument
        return _groups(repeated, pieces) if least else []
    if code in {op.SUBPATTERN, op.ASSERT}:
        return _groups(argument[-1], pieces)
    if code is op.ATOMIC_GROUP:
        return _groups(argument, pieces)
    if code is op.BRANCH:
        choices = [max(_groups(choice, pieces), key=_least, default=[]) for choice in argument[1]]
        texts = [text for texts in choices for text in texts]
        return [texts] if all(choices) and len(texts) <= _MOST_CHOICES else []
    return []


def _least(texts: list[str]) -> int:
    return min(map(len, texts))


def _text_pieces(run: str) -> Iterator[str]:
    plain = "".join("\0" if char in _PUNCTUATION or is_control(char) else char for char in run)
    for part in plain.split("\0"):
        for piece in _DATE_AND_TIME.split(part):
            yield _behind_escape(piece.strip(" "))


def _behind_escape(piece: str) -> str:
    """Leave out of the beginning what may be the end of an escape."""
    if piece in _ESCAPES:
        return ""
    for length in range(min(len(piece), _LONGEST_ESCAPE), 0, -1):
        if f"{piece[:length]} " in f"{_ESCAPES} ":
            return piece[length:].lstrip(" ")
    return piece


def _folded(run: str, pieces: Pieces) -> Iterator[str]:
    for part in _NO_CASE.split(run.lower()):
        yield from pieces(part)
