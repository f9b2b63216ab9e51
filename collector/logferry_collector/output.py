"""Tables and JSON on the standard output; whatever comes from data is made harmless to a terminal first."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from logferry.cli import printable
from logferry.results import finite

# Signs that JSON lets stand bare and a terminal may act on: DEL and C1, bidi controls, line separators; and surrogates.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What is longer is data to export, not to look at.
_MAX_CELL = 240


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


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table: drawn on a terminal, aligned plain text elsewhere."""
    heads = [printable(column) for column in columns]
    cells = [[_short(cell(value)) for value in row] for row in rows]
    right = [
        bool(rows) and all(isinstance(row[position], int | float | None) for row in rows)
        for position in range(len(columns))
    ]
    if sys.stdout.isatty():
        _drawn(heads, cells, right)
    else:
        _aligned(heads, cells, right)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"


def _drawn(heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a pipe does not need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head, to_the_right in zip(heads, right, strict=True):
        table.add_column(Text(head), justify="right" if to_the_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    Console().print(table)


def _aligned(heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in [heads, *cells]:
        padded = [
            text.rjust(width) if to_the_right else text.ljust(width)
            for text, width, to_the_right in zip(row, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())


def print_markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    lines = [list(columns), ["---"] * len(columns), *([cell(value) for value in row] for row in rows)]
    for line in lines:
        print("| " + " | ".join(printable(text).replace("|", "\\|") for text in line) + " |")
