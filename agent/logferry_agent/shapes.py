"""Ordinary lines that have one event and the same fields, as most of a log have, by one expression and one format.

What is of another shape is taken apart as any ordinary line (see ordinary.py), to the same text form.
"""

from __future__ import annotations

import re

from logferry_agent import ordinary
from logferry_agent.ordinary import MESSAGE, NUMBER, SEQ, STRING, Row

# Stands for the message of a line whose text form is made already, in place of its fields.
SHOWN = "\n"
# To make an expression takes as long as some thousand lines.
_LEARN_AFTER = 4_000
_FIELD = re.compile(r',"([^"]++)":("?)')
_TIME = slice(9, 36)


class Shapes:
    """Takes blocks of lines apart by the shape that most of them have."""

    def __init__(self, learn_after: int = _LEARN_AFTER) -> None:
        self._learn_after = learn_after
        self._shape: _Shape | None = None
        self._missed = 0

    def rows_of(self, block: str) -> list[Row]:
        """Return the lines of a block of whole lines, as `ordinary.rows_of` does."""
        if self._shape is None:
            rows = others = ordinary.rows_of(block)
        else:
            rows, others = self._shape.rows_of(block)
        self._missed += len(others)
        if self._missed > self._learn_after and 2 * len(others) > len(rows):
            known = next((row for row in reversed(others) if row[1]), None)
            self._shape, self._missed = (_Shape(known), 0) if known else (self._shape, 0)
        return rows


class _Shape:
    """What an ordinary line has in common with those of its shape."""

    def __init__(self, row: Row) -> None:
        _, _, self._level, self._event, message, fields = row
        start = f'","level":"{self._level}","event":"{self._event}"'
        pattern = [r'(\{"time":"([0-9-]{10}+)T([0-9:]{8}+)\.[0-9]{6}+Z', re.escape(start)]
        shown = []
        named = _FIELD.findall(fields)
        if message:
            # A message that stands alone is quoted where it has this character.
            pattern.append(f',"message":"({MESSAGE if named else MESSAGE.replace("#-", "#-<>-")})"')
            shown.append('"%s"' if named else "%s")
        for name, quote in named:
            pattern += [re.escape(f',"{name}":'), f'"({STRING})"' if quote else f"({NUMBER})"]
            shown.append(name.replace("%", "%%") + "=%s")
        self._find = re.compile("".join([*pattern, SEQ, r"\}|[^\n]*+)\n"])).findall
        head = f"%s %s [{self._level}] {self._event.replace('%', '%%')}"
        self._form = f"{head}: {', '.join(shown)}" if shown else head

    def rows_of(self, block: str) -> tuple[list[Row], list[Row]]:
        """Return all lines, and of those the ones of other shapes."""
        found = self._find(block)
        level, event, form = self._level, self._event, self._form
        missed = [row[0] for row in found if not row[1]]
        if not missed:
            return [(row[0], row[0][_TIME], level, event, SHOWN, form % row[1:]) for row in found], []
        others = ordinary.rows_of("\n".join([*missed, ""]))
        rest = iter(others)
        return [
            (row[0], row[0][_TIME], level, event, SHOWN, form % row[1:]) if row[1] else next(rest) for row in found
        ], others
