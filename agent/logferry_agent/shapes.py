"""Ordinary lines that have one event and the same fields, as most of a log have, by one expression and one format.

What is of another shape is taken apart as any ordinary line (see ordinary.py), to the same text form. Blocks in which
there is nothing else, as among the hits of a search, are taken in few steps each, without a step per line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from itertools import repeat
from operator import contains

from logferry_agent import ordinary
from logferry_agent.ordinary import MESSAGE, NUMBER, SEQ, STRING, Row

# Stands for the message of a line whose text form is made already, in place of its fields.
SHOWN = "\n"
# To make an expression takes as long as some thousand lines.
_LEARN_AFTER = 4_000
# After so many blocks in a row whose lines are all of the shape, the next one is taken for such a one.
_SURE_AFTER = 4
_FIELD = re.compile(r',"([^"]++)":("?)')
_TIME = slice(9, 36)


class Shapes:
    """Takes blocks of lines apart by the shape that most of them have."""

    def __init__(self, learn_after: int = _LEARN_AFTER, sure_after: int = _SURE_AFTER) -> None:
        self._learn_after, self._sure_after = learn_after, sure_after
        self._shape: _Shape | None = None
        self._missed = 0
        self._blocks_alike = 0

    def alike(self, block: bytes) -> Alike | None:
        """Return the lines of a block of whole lines if all are of the shape, and that was to be expected."""
        if self._shape is None or self._blocks_alike < self._sure_after:
            return None
        found = self._shape.alike(block.decode(errors="replace"))
        if found is None:
            self._blocks_alike = 0
        return found

    def rows_of(self, block: str) -> list[Row]:
        """Return the lines of a block of whole lines, as `ordinary.rows_of` does."""
        if self._shape is None:
            rows = others = ordinary.rows_of(block)
        else:
            rows, others = self._shape.rows_of(block)
        self._blocks_alike = 0 if others else self._blocks_alike + 1
        self._missed += len(others)
        if self._missed > self._learn_after and 2 * len(others) > len(rows):
            known = next((row for row in reversed(others) if row[1]), None)
            self._shape, self._missed = (_Shape(known), 0) if known else (self._shape, 0)
        return rows


class _Shape:
    """What an ordinary line has in common with those of its shape."""

    def __init__(self, row: Row) -> None:
        _, _, self.level, self.event, message, fields = row
        start = f'","level":"{self.level}","event":"{self.event}"'
        pattern = [r'\{"time":"([0-9-]{10}+)T([0-9:]{8}+)\.[0-9]{6}+Z', re.escape(start)]
        shown = []
        named = _FIELD.findall(fields)
        if message:
            # A message that stands alone is quoted where it has this character.
            pattern.append(f',"message":"({MESSAGE if named else MESSAGE.replace("#-", "#-<>-")})"')
            shown.append('"%s"' if named else "%s")
        for name, quote in named:
            pattern += [re.escape(f',"{name}":'), f'"({STRING})"' if quote else f"({NUMBER})"]
            shown.append(name.replace("%", "%%") + "=%s")
        self._pattern = "".join([*pattern, SEQ, r"\}"])
        head = f"%s %s [{self.level}] {self.event.replace('%', '%%')}"
        self.form = f"{head}: {', '.join(shown)}" if shown else head
        # The times and the values of a line, and what stands in front of it.
        self.columns = 3 + len(shown)

    @cached_property
    def _find(self) -> Callable[[str], list[tuple[str, ...]]]:
        return re.compile(rf"({self._pattern}|[^\n]*+)\n").findall

    @cached_property
    def _split(self) -> Callable[[str], list[str]]:
        return re.compile(rf"{self._pattern}\n").split

    def alike(self, block: str) -> Alike | None:
        """Return all lines, or None if one is of another shape."""
        parts = self._split(block)
        return None if any(parts[:: self.columns]) else Alike(self, block, parts)

    def rows_of(self, block: str) -> tuple[list[Row], list[Row]]:
        """Return all lines, and of those the ones of other shapes."""
        found = self._find(block)
        level, event, form = self.level, self.event, self.form
        missed = [row[0] for row in found if not row[1]]
        if not missed:
            return [(row[0], row[0][_TIME], level, event, SHOWN, form % row[1:]) for row in found], []
        others = ordinary.rows_of("\n".join([*missed, ""]))
        rest = iter(others)
        return [
            (row[0], row[0][_TIME], level, event, SHOWN, form % row[1:]) if row[1] else next(rest) for row in found
        ], others


class Alike:
    """Lines that are all of one shape: what of them differs stands in one list, and one format shows them all."""

    def __init__(self, shape: _Shape, block: str, parts: list[str]) -> None:
        self.level, self.event = shape.level, shape.event
        self._shape, self._block, self._parts = shape, block, parts

    def raws(self) -> list[str]:
        return self._block.split("\n")[:-1]

    def texts(self) -> list[str]:
        """Return the text forms."""
        lines = len(self._parts) // self._shape.columns
        return (f"%s{self._shape.form}\n" * lines % tuple(self._parts[:-1])).split("\n")[:-1]

    def all_show(self, text: str) -> bool:
        """Say whether the same value of every line holds a text, so that all text forms do."""
        step = self._shape.columns
        return any(all(map(contains, self._parts[at::step], repeat(text))) for at in range(1, step))
