"""What a plot is made of, however it is drawn: series of points, and axes that know where a value lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from logferry_collector.export import plain

# From two powers of ten on, as learning rates have, a straight scale shows one point and a crowd.
_WIDE = 100
# Beyond the range of floats nothing can be drawn; infinity and NaN are not less than this either.
_FAR = 1e300


@dataclass(slots=True)
class Series:
    """Points of one colour; with `low` and `high` a line with its band."""

    name: str
    x: list[Any] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Axis:
    """One key: where its values lie. Text has places of its own, in order; a wide range of numbers is logarithmic."""

    name: str
    labels: list[str]  # of text, by place; empty for numbers
    least: float
    most: float
    log: bool
    _places: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Axis:
        if not all(is_number(value) for value in values):
            labels = sorted({str(plain(value)) for value in values})
            places = {label: place for place, label in enumerate(labels)}
            return cls(name, labels, 0, max(1, len(labels) - 1), log=False, _places=places)
        least, most = min(values), max(values)
        if least == most:
            least, most = least - (abs(least) or 1) / 2, most + (abs(most) or 1) / 2
        return cls(name, [], float(least), float(most), log=least > 0 and most / least >= _WIDE)

    def place(self, value: Any) -> float:
        """Return a value as a number on this axis."""
        return float(self._places[str(plain(value))]) if self.labels else float(value)


def height(axis: Axis, value: Any) -> float:
    """Return where a value lies between the ends of an axis, from 0 to 1."""
    place = axis.place(value)
    if axis.log:
        return log(place / axis.least) / log(axis.most / axis.least)
    return (place - axis.least) / (axis.most - axis.least)


def marks(axis: Axis) -> list[tuple[float, str]]:
    """Return the values that are written at an axis, and where."""
    if axis.labels:
        step = max(1, len(axis.labels) // 12)
        return [(height(axis, label), label[:24]) for label in axis.labels[::step]]
    middle = (axis.least * axis.most) ** 0.5 if axis.log else (axis.least + axis.most) / 2
    return [(height(axis, value), f"{value:.4g}") for value in (axis.least, middle, axis.most)]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_there(value: Any) -> bool:
    """Say whether a value has a place on an axis."""
    return value is not None and not (is_number(value) and not abs(value) < _FAR)
