"""Pictures on a terminal: dots of braille signs, which are two wide and four high."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from logferry.cli import printable
from logferry_collector.axes import Axis, Series, height, marks

# Braille signs are numbered by their dots: (column, row from the top) to its bit.
_DOTS = {(0, 0): 1, (0, 1): 2, (0, 2): 4, (1, 0): 8, (1, 1): 16, (1, 2): 32, (0, 3): 64, (1, 3): 128}
_BRAILLE = 0x2800
_COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_ROWS = 16
_LABEL = 10


class Canvas:
    """Dots in a grid of cells; each cell has the colour of what was drawn there last."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._bits: dict[tuple[int, int], int] = {}
        self._colours: dict[tuple[int, int], str] = {}

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a point; 0 to 1 from the left and from the bottom."""
        column = round(x * (2 * self.columns - 1))
        row = round((1 - y) * (4 * self.rows - 1))
        cell = column // 2, row // 4
        self._bits[cell] = self._bits.get(cell, 0) | _DOTS[column % 2, row % 4]
        self._colours[cell] = colour

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        steps = 1 + round(max(abs(end[0] - start[0]) * 2 * self.columns, abs(end[1] - start[1]) * 4 * self.rows))
        for step in range(steps + 1):
            part = step / steps
            self.dot(start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1]), colour)

    def lines(self) -> Iterable[list[tuple[str, str]]]:
        """Return each line as signs with their colours."""
        for row in range(self.rows):
            cells = [(column, row) for column in range(self.columns)]
            yield [
                (chr(_BRAILLE + self._bits[cell]), self._colours[cell]) if cell in self._bits else (" ", "")
                for cell in cells
            ]


def show(axes: Sequence[Axis], series: Sequence[Series], rows: Sequence[Sequence[Any]]) -> None:
    """Print points and lines, or parallel coordinates where there are no series."""
    room = max(20, min(shutil.get_terminal_size((80, 24)).columns, 120) - _LABEL - 2)
    canvas = Canvas(room, _ROWS)
    if series:
        colours = {one.name: _COLOURS[place % len(_COLOURS)] for place, one in enumerate(series)}
        for one in series:
            _draw(canvas, axes, one, colours[one.name])
        _print(canvas, {round((1 - at) * (_ROWS - 1)): text for at, text in marks(axes[1])})
        ends = [text for _, text in marks(axes[0])]
        print(" " * (_LABEL + 2) + _spread(ends, room))
        scale = " (log)" if axes[0].log else ""
        print(" " * (_LABEL + 2) + printable(f"{axes[1].name} by {axes[0].name}{scale}"))
        if len(series) > 1:
            _legend(colours)
        return
    for row in rows:
        heights = [height(axis, value) for axis, value in zip(axes, row, strict=True)]
        colour = _COLOURS[min(2, int(heights[-1] * 3))]
        for place in range(len(axes) - 1):
            step = 1 / (len(axes) - 1)
            canvas.line((place * step, heights[place]), ((place + 1) * step, heights[place + 1]), colour)
    _print(canvas, {})
    print(" " * (_LABEL + 2) + _spread([axis.name for axis in axes], room))
    for side, text in (("highest", 2), ("lowest", 0)):
        ends = [marks(axis)[-1 if text else 0][1] for axis in axes]
        print(f"{side:>{_LABEL}}  " + _spread(ends, room))


def _draw(canvas: Canvas, axes: Sequence[Axis], one: Series, colour: str) -> None:
    at = [(height(axes[0], x), height(axes[1], y)) for x, y in zip(one.x, one.y, strict=True)]
    for point in at:
        canvas.dot(*point, colour)
    if one.low:
        for start, end in pairwise(at):
            canvas.line(start, end, colour)


def _print(canvas: Canvas, labels: dict[int, str]) -> None:
    for row, signs in enumerate(canvas.lines()):
        print(f"{labels.get(row, '')[:_LABEL]:>{_LABEL}} ┤" + "".join(_coloured(*sign) for sign in signs).rstrip())


def _coloured(sign: str, colour: str) -> str:
    if not colour or not sys.stdout.isatty():
        return sign
    number = 30 + ("black", "red", "green", "yellow", "blue", "magenta", "cyan").index(colour)
    return f"\x1b[{number}m{sign}\x1b[0m"


def _legend(colours: dict[str, str]) -> None:
    print(
        " " * (_LABEL + 2)
        + "  ".join(f"{_coloured('●', colour)} {printable(name)}" for name, colour in colours.items())
    )


def _spread(texts: Sequence[str], width: int) -> str:
    """Return texts over a width: the first at the left, the last at the right, the others in between."""
    line = [" "] * width
    for place, text in enumerate(printable(one)[: max(1, width // len(texts) - 1)] for one in texts):
        middle = place * (width - 1) // max(1, len(texts) - 1)
        start = min(max(0, middle - len(text) * place // max(1, len(texts) - 1)), width - len(text))
        line[start : start + len(text)] = text
    return "".join(line).rstrip()
