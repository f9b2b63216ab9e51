"""Mean and deviation of metrics over repetitions, in one pass over the rows.

Missing values are not counted, and are no zeros. NaN and infinities are counted: the mean of runs of which one
diverged is not the mean of the others. Deviations are the sample's (n - 1), by Welford's method; one value has none.
"""

from __future__ import annotations

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
        self.least, self.most = min(self.least, value), max(self.most, value)

    def of(self, name: str) -> float | int | None:
        if name == "n":
            return self.n
        if self.n == 0:
            return None
        if name == "std":
            return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else None
        return {"mean": self.mean, "min": self.least, "max": self.most}[name]


class Groups:
    """Rows of aggregates: for each the values of the keys, `n` repetitions, and `<metric>.<aggregate>`."""

    def __init__(self, rows: list[dict[str, Any]], keys: Sequence[str], metrics: Sequence[str]) -> None:
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
    width = len(keys)
    groups: dict[tuple[Any, ...], dict[Any, list[Moments]]] = {}
    for position, row in enumerate(rows):
        repetition = row[width] if has_over and row[width] is not None else ("run", position)
        repetitions = groups.setdefault(row[:width], {})
        into = repetitions.setdefault(repetition, [Moments() for _ in metrics])
        for moments, value in zip(into, row[width + has_over :], strict=True):
            _add(moments, value)
    ordered = sorted(groups.items(), key=lambda group: [_rank(value) for value in group[0]])
    made = [_row(keys, values, metrics, repetitions, agg) for values, repetitions in ordered]
    used = [metric for metric in metrics if any(f"{metric.name}.{name}" in row for row in made for name in agg)]
    return Groups(made, [key.name for key in keys], [metric.name for metric in used])


def _add(moments: Moments, value: Any) -> None:
    value = number(value)
    if isinstance(value, int | float):
        moments.add(float(value))


def _row(
    keys: Sequence[Key],
    values: tuple[Any, ...],
    metrics: Sequence[Key],
    repetitions: dict[Any, list[Moments]],
    agg: Sequence[str],
) -> dict[str, Any]:
    row: dict[str, Any] = {key.name: value for key, value in zip(keys, values, strict=True)}
    row["n"] = len(repetitions)
    for position, metric in enumerate(metrics):
        total = Moments()
        for moments in repetitions.values():
            if moments[position].n:
                total.add(moments[position].mean)
        if total.n:
            row.update((f"{metric.name}.{name}", total.of(name)) for name in agg)
    return row


def _rank(value: Any) -> tuple[int, Any]:
    """Sort numbers before text, and what is missing last."""
    if value is None:
        return (2, 0)
    return (0, value) if isinstance(value, int | float) else (1, str(value))
