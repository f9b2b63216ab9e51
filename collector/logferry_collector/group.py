"""Mean and deviation of metrics over repetitions, in one pass over the rows.

Missing values are not counted, and are no zeros. NaN and infinities are counted: the mean of runs of which one
diverged is not the mean of the others. Deviations are the sample's (n - 1), by Welford's method; one value has none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from logferry.results import number
from logferry_collector.where import Key, WhereError

AGGREGATES = ("n", "mean", "std", "min", "max")


@dataclass(slots=True)
class Moments:
    """Count, mean and spread of numbers as they come."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: float) -> None:
        self.n += 1
        delta = value - self.mean
        # Infinity minus infinity is NaN, as the mean of opposite infinities should be; equal ones stay infinite.
        self.mean = self.mean + delta / self.n if math.isfinite(delta) else self.mean + value
        self.squares += delta * (value - self.mean)
        if math.isnan(value):  # compares with nothing, and would be passed over
            self.least = self.most = value
        self.least, self.most = min(self.least, value), max(self.most, value)

    def of(self, name: str) -> float | int | None:
        if name == "n":
            return self.n
        if self.n == 0:
            return None
        if name == "std":
            return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else None
        return {"mean": self.mean, "min": self.least, "max": self.most}[name]


@dataclass(slots=True)
class _Group:
    values: tuple[Any, ...]
    repetitions: dict[Any, list[Moments]]


class Groups:
    """Rows of aggregates: for each the values of the keys, `n` repetitions, and `<metric>.<aggregate>`.

    `keys` and `metrics` are the names that the rows use: the bare ones, with their section where two would be the same.
    """

    def __init__(self, rows: list[dict[str, Any]], keys: dict[Key, str], metrics: dict[Key, str]) -> None:
        self.rows, self.keys, self.metrics = rows, keys, metrics

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> Any:
        """Return a DataFrame with a column per key and aggregate; needs pandas."""
        from logferry_collector.export import frame  # noqa: PLC0415 - heavy, and seldom asked for

        return frame(self.rows)


def grouped(
    rows: Iterable[tuple[Any, ...]], keys: Sequence[Key], has_over: bool, metrics: Sequence[Key], agg: Sequence[str]
) -> Groups:
    """Aggregate rows of key values, the value of `over` where there is one, and metric values.

    Raises:
        WhereError: an unknown aggregate.

    """
    for name in agg:
        if name not in AGGREGATES:
            raise WhereError(f"unknown aggregate {name!a}; known are {', '.join(AGGREGATES)}")
    groups = list(_gathered(rows, len(keys), has_over, len(metrics)))
    groups.sort(key=lambda group: [_rank(value) for value in group.values])
    key_names, metric_names = _names(keys, metrics, agg)
    made = [_row(group, list(key_names.values()), list(metric_names.values()), agg) for group in groups]
    there = {name for row in made for name in row}
    used = {key: name for key, name in metric_names.items() if any(f"{name}.{one}" in there for one in agg)}
    return Groups(made, key_names, used)


def _gathered(rows: Iterable[tuple[Any, ...]], width: int, has_over: bool, metrics: int) -> Iterable[_Group]:
    groups: dict[Any, _Group] = {}
    for position, row in enumerate(rows):
        group = groups.setdefault(tuple(map(_identity, row[:width])), _Group(row[:width], {}))
        repetition = _identity(row[width]) if has_over and row[width] is not None else ("run", position)
        into = group.repetitions.setdefault(repetition, [Moments() for _ in range(metrics)])
        for moments, value in zip(into, row[width + has_over :], strict=True):
            measured = number(value)
            if isinstance(measured, int | float):
                moments.add(_float(measured))
    return groups.values()


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def _identity(value: Any) -> Any:
    """Return what makes two values the same: 1 and 1.0 are, 1 and true are not; lists and maps by what they hold."""
    return (type(value), json.dumps(value, sort_keys=True)) if isinstance(value, bool | list | dict) else value


def _names(keys: Sequence[Key], metrics: Sequence[Key], agg: Sequence[str]) -> tuple[dict[Key, str], dict[Key, str]]:
    bare = [key.name for key in (*keys, *metrics)]
    named = {key: key.name if bare.count(key.name) == 1 else key.full_name for key in metrics}
    taken = {"n", *(f"{name}.{one}" for name in named.values() for one in agg)}
    plain = {key for key in keys if bare.count(key.name) == 1 and key.name not in taken}
    return {key: key.name if key in plain else f"{key.section}.{key.name}" for key in keys}, named


def _row(group: _Group, keys: Sequence[str], metrics: Sequence[str], agg: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(keys, group.values, strict=True))
    row["n"] = len(group.repetitions)
    for position, metric in enumerate(metrics):
        total = Moments()
        for moments in group.repetitions.values():
            if moments[position].n:
                total.add(moments[position].mean)
        if total.n:
            row.update((f"{metric}.{name}", total.of(name)) for name in agg)
    return row


def _rank(value: Any) -> tuple[int, Any]:
    """Sort numbers before text, and what is missing last."""
    if value is None:
        return (2, 0)
    return (0, value) if isinstance(value, int | float) else (1, str(value))
