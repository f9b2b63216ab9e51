"""Mean and spread of metrics over repetitions (store/means.py).

Missing values are not counted, and are no zeros. NaN and infinities are counted: the mean of runs of which one
diverged is not the mean of the others. Nothing is ever summed. Deviations are the sample's (n - 1), by Welford's
method; one value has none. `ci95` is half the width of the 95 % confidence interval of the mean, by Student's t.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from logferry_collector.frames import pandas_frame, polars_frame
from logferry_collector.where import Key, WhereError

AGGREGATES = ("n", "mean", "std", "min", "max", "median", "ci95")
# 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T95 = (
    *(12.706204736, 4.30265273, 3.182446305, 2.776445105, 2.570581836, 2.446911851, 2.364624252, 2.306004135),
    *(2.262157163, 2.228138852, 2.20098516, 2.17881283, 2.160368656, 2.144786688, 2.131449546, 2.119905299),
    *(2.109815578, 2.10092204, 2.093024054, 2.085963447, 2.079613845, 2.073873068, 2.06865761, 2.063898562),
    *(2.059538553, 2.055529439, 2.051830516, 2.048407142, 2.045229642, 2.042272456),
)


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
        if name in {"std", "ci95"}:
            deviation = math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else None
            return deviation if name == "std" or deviation is None else _t95(self.n - 1) * deviation / math.sqrt(self.n)
        return {"mean": self.mean, "min": self.least, "max": self.most}[name]


def _t95(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t: from the table, beyond it by its expansion (to 2e-6)."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z, n = 1.959963984540054, freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def median(values: Sequence[float]) -> float:
    """Return the middle of some numbers, NaN where one is."""
    if any(math.isnan(value) for value in values):
        return math.nan
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else ordered[middle - 1] / 2 + ordered[middle] / 2


@dataclass(slots=True)
class _Mean:
    """The mean of one metric over the runs of one repetition."""

    n: int = 0
    value: float = 0.0

    def add(self, n: int, value: float) -> None:
        self.n += n
        delta = value - self.value
        self.value = self.value + delta * n / self.n if math.isfinite(delta) else self.value + value


@dataclass(slots=True)
class _Group:
    values: tuple[Any, ...]
    repetitions: dict[Any, list[_Mean]]


class Groups:
    """Rows of aggregates: for each the values of the keys, `n` repetitions, and `<metric>.<aggregate>`.

    `keys` and `metrics` are the names that the rows use: the bare ones, with their section where two would be the same.
    """

    def __init__(
        self, rows: list[dict[str, Any]], keys: dict[Key, str], metrics: dict[Key, str], resolve: Callable[[str], Key]
    ) -> None:
        self.rows, self.keys, self.metrics = rows, keys, metrics
        self._resolve = resolve

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def name_of(self, name: str) -> str:
        """Return what the rows call a key or a metric.

        Raises:
            WhereError: they have none of that name.

        """
        if name == "n" or any(name in row for row in self.rows):
            return name
        key = self._resolve(name)
        if key not in self.metrics and key not in self.keys:
            raise WhereError(f"{name!a} is neither a key of the groups nor one of their metrics; nor is it n")
        return self.metrics.get(key) or self.keys[key]

    def sort(self, name: str | None, *, desc: bool = False) -> None:
        """Sort by a key, by `n`, by an aggregate (`acc.std`) or a metric's mean.

        Numbers come before text, and what has none, and NaN, last, both ways.
        """
        if name is None:
            return
        found = self.name_of(name)
        if found in self.metrics.values():
            found = next(
                (f"{found}.{one}" for one in ("mean", *AGGREGATES) if f"{found}.{one}" in self._names()), found
            )
        last = [row for row in self.rows if row.get(found) is None or row[found] != row[found]]
        there = [row for row in self.rows if row.get(found) is not None and row[found] == row[found]]
        there.sort(key=lambda row: _rank(row[found]), reverse=desc)
        # Stable: text goes behind numbers, each in the order that it has.
        self.rows = sorted(there, key=lambda row: _rank(row[found])[0]) + last

    def _names(self) -> set[str]:
        return {name for row in self.rows for name in row}

    def to_pandas(self) -> Any:
        """Return a DataFrame with a column per key and aggregate; needs pandas."""
        return pandas_frame(self.rows)

    def to_polars(self) -> Any:
        """Return a DataFrame of polars; needs polars and pyarrow."""
        return polars_frame(self.rows)


def grouped(
    rows: Iterable[tuple[Any, ...]],
    keys: Sequence[Key],
    metrics: Sequence[Key],
    agg: Sequence[str],
    resolve: Callable[[str], Key],
) -> Groups:
    """Aggregate the means of repetitions, as a store gives them.

    Raises:
        WhereError: an unknown aggregate.

    """
    for name in agg:
        if name not in AGGREGATES:
            raise WhereError(f"unknown aggregate {name!a}; known are {', '.join(AGGREGATES)}")
    groups = list(_gathered(rows, len(keys), len(metrics)))
    groups.sort(key=lambda group: [_rank(value) for value in group.values])
    key_names, metric_names = _names(keys, metrics, agg)
    made = [_row(group, list(key_names.values()), list(metric_names.values()), agg) for group in groups]
    there = {name for row in made for name in row}
    used = {key: name for key, name in metric_names.items() if any(f"{name}.{one}" in there for one in agg)}
    return Groups(made, key_names, used, resolve)


def _gathered(rows: Iterable[tuple[Any, ...]], width: int, metrics: int) -> Iterable[_Group]:
    groups: dict[Any, _Group] = {}
    for position, row in enumerate(rows):
        group = groups.setdefault(tuple(map(_identity, row[:width])), _Group(row[:width], {}))
        repetition = _identity(row[width]) if row[width] is not None else ("run", position)
        into = group.repetitions.setdefault(repetition, [_Mean() for _ in range(metrics)])
        for mean, (n, value) in zip(into, row[width + 1 :], strict=True):
            if n:
                mean.add(n, value)
    return groups.values()


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
        total, values = Moments(), [one[position].value for one in group.repetitions.values() if one[position].n]
        for value in values:
            total.add(value)
        if values:
            row.update((f"{metric}.{name}", median(values) if name == "median" else total.of(name)) for name in agg)
    return row


def _rank(value: Any) -> tuple[int, Any]:
    """Sort numbers before text, and what is missing last."""
    if value is None:
        return (2, 0)
    return (0, value) if isinstance(value, int | float) else (1, str(value))
