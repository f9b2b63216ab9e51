"""Tables and JSON on the standard output; whatever comes from data is made harmless to a terminal first.

A table is to be looked at: a cell is cut to `MAX_CELL` signs, on a terminal to what fits, and columns that do not fit
are counted below it. JSON, CSV and Parquet have everything.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

from logferry.cli import printable, say
from logferry.results import finite
from logferry_collector.kept import exhausted, kept

# Signs that JSON lets stand bare and a terminal may act on: DEL and C1, bidi controls, line separators; and surrogates.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_CELL = 60
# A column narrower than this says nothing any more; rather leave it out.
_MIN_CELL = 10
_GAP = 2
_NOTE_LINES = 2


def json_text(value: Any) -> str:
    """Return indented strict JSON."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    print(json_text(value))


def cell(value: Any) -> str:
    """Return a value as one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(finite(value), ensure_ascii=False)
    return printable(text)


class Shape:
    """What a table has to know of all its rows before the first is written."""

    def __init__(self, heads: Sequence[str]) -> None:
        self.widths = list(map(len, heads))
        self._numbers = [True] * len(heads)
        self._has_rows = False

    def cells_of(self, row: Sequence[Any]) -> list[str]:
        """Return the cells of a row, which counts from now on."""
        self._has_rows = True
        cells = list(map(cell, row))
        self.widths = list(map(max, self.widths, map(len, cells)))
        self._numbers = [
            so_far and isinstance(value, int | float | None) for so_far, value in zip(self._numbers, row, strict=True)
        ]
        return cells

    @property
    def right(self) -> list[bool]:
        """Say of each column whether it has numbers only, which stand at the right."""
        return [self._has_rows and numbers for numbers in self._numbers]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], whole: Collection[str] = ()) -> None:
    """Print a table: drawn on a terminal, aligned plain text elsewhere.

    Args:
        columns: their heads.
        rows: values, in the order of the columns.
        whole: heads of columns whose cells are never cut, because people copy them.

    """
    heads = [printable(column) for column in columns]
    shape = Shape(heads)
    with kept(map(shape.cells_of, rows), exhausted) as (_, cells):
        whole_columns = [head in whole for head in heads]
        pairs = zip(shape.widths, whole_columns, strict=True)
        widths = [width if is_whole else min(width, MAX_CELL) for width, is_whole in pairs]
        if sys.stdout.isatty():
            _drawn(heads, list(cells), shape.right, widths, whole_columns)
            return
        for row in chain([heads], cells):
            fields = zip(row, widths, shape.right, strict=True)
            texts = (_padded(_cut(text, width), width, at_right) for text, width, at_right in fields)
            print((" " * _GAP).join(texts).rstrip())


def _padded(text: str, width: int, to_the_right: bool) -> str:
    return text.rjust(width) if to_the_right else text.ljust(width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def fitted(widths: Sequence[int], kept: Sequence[bool], room: int) -> list[int]:
    """Return the widths with which columns fit into a line: the widest give first, then the last are left out."""
    for count in range(min(len(widths), room), 0, -1):
        for limit in range(MAX_CELL, _MIN_CELL - 1, -1):
            found = [width if keep else min(width, limit) for width, keep in zip(widths[:count], kept, strict=False)]
            if sum(found) + _GAP * (count - 1) <= room:
                return found
    return [room][: len(widths)]


def _drawn(
    heads: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[bool],
    widths: Sequence[int],
    kept: Sequence[bool],
) -> None:
    from rich.console import Console  # noqa: PLC0415 - a pipe does not need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    fits = fitted(widths, kept, console.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for head, to_the_right, keep, width in zip(heads, right, kept, fits, strict=False):
        overflow: Any = "fold" if keep else "ellipsis"
        justify: Any = "right" if to_the_right else "left"
        table.add_column(Text(head), justify=justify, overflow=overflow, no_wrap=not keep, width=width)
    for row in cells:
        table.add_row(*(Text(text) for text in row[: len(fits)]))
    console.print(table)
    left_out = heads[len(fits) :]
    if left_out:
        said = f"{len(left_out)} more columns do not fit here; --columns chooses, --json has all: {', '.join(left_out)}"
        console.print(Text(said, style="dim"), no_wrap=True, overflow="ellipsis")


def note(text: str) -> None:
    """Say something about a table below it; who pipes the table gets it on stderr."""
    from rich.console import Console  # noqa: PLC0415 - a pipe of no table does not need it
    from rich.text import Text  # noqa: PLC0415

    if sys.stdout.isatty():
        console = Console()
        console.print(Text(_cut(printable(text), _NOTE_LINES * console.width), style="dim"), overflow="fold")
    else:
        say(f"logferry: {printable(text)}")
