"""Groups as a table for readers: a mean with its spread in one cell, and a key spread over columns (a pivot)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from logferry_collector.export import plain
from logferry_collector.group import Groups
from logferry_collector.where import WhereError

# Beyond so many digits powers of ten read better.
_MAX_DECIMALS = 8


def group_table(groups: Groups, agg: Sequence[str], pivot: str | None) -> tuple[list[str], list[dict[str, Any]]]:
    """Return columns and rows.

    Raises:
        WhereError: `pivot` is no key of the groups.

    """
    keys = list(groups.keys.values())
    metrics = list(groups.metrics.values())
    # Where no column says how many there are, a cell that has fewer than others says it.
    usual = max((row["n"] for row in groups), default=0) if pivot else None
    rows = [{key: row[key] for key in keys} | {"n": row["n"]} | _cells(row, metrics, agg, usual) for row in groups]
    columns = dict.fromkeys(name for row in rows for name in row)
    if pivot is None:
        return [*keys, "n", *(name for name in columns if name not in keys and name != "n")], rows
    spread = groups.name_of(pivot)
    if spread not in keys:
        raise WhereError(f"--pivot {pivot!a} is none of the keys of the groups")
    return _spread(rows, [key for key in keys if key != spread], spread)


def _spread(rows: Sequence[dict[str, Any]], keys: list[str], spread: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return a row for each group of the other keys; a column for each value of `spread` and each metric."""
    cells = dict.fromkeys(name for row in rows for name in row if name not in {*keys, spread, "n"})
    heads = {_head(row[spread]): row[spread] for row in rows}
    values = sorted(heads, key=lambda head: _place(heads[head]))
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        into = found.setdefault(repr([row[key] for key in keys]), {key: row[key] for key in keys})
        for name in cells:
            into[_column(_head(row[spread]), name, keys, cells)] = row.get(name)
    columns = [_column(value, name, keys, cells) for name in cells for value in values]
    return [*keys, *columns], list(found.values())


def _place(value: Any) -> tuple[bool, bool, Any]:
    """Return by what values are sorted: numbers, then text, then nothing."""
    is_number = isinstance(value, int | float)
    return value is None, not is_number, value if is_number else str(plain(value))


def _head(value: Any) -> str:
    return "(none)" if value is None else str(plain(value))


def _column(value: str, name: str, keys: list[str], cells: Collection[str]) -> str:
    return value if len(cells) == 1 and value not in keys else f"{value} {name}"


def _cells(row: dict[str, Any], metrics: Sequence[str], agg: Sequence[str], usual: int | None) -> dict[str, Any]:
    """Return a cell for each metric: mean and spread in one, any other aggregate by itself."""
    cells: dict[str, Any] = {}
    for metric in metrics:
        spread = next((name for name in ("std", "ci95") if name in agg and "mean" in agg), None)
        for name in agg:
            value = row.get(f"{metric}.{name}")
            if name == "n" and "mean" in agg:
                continue
            if name == "mean" and spread:
                head = metric if spread == "std" else f"{metric} ± ci95"
                cells[head] = _mean_with(row, metric, spread, usual)
            elif name != spread:
                cells[f"{metric}.{name}"] = value
    return cells


def _mean_with(row: dict[str, Any], metric: str, spread: str, usual: int | None) -> str | None:
    mean, width = row.get(f"{metric}.mean"), row.get(f"{metric}.{spread}")
    if mean is None:
        return None
    n = row.get(f"{metric}.n", row["n"])
    counted = "" if n == (usual or row["n"]) else f" (n={n})"
    if math.isnan(mean):
        return f"NaN{counted}"
    return (f"{mean:.4g}" if width is None else with_deviation(mean, width)) + counted


def with_deviation(mean: float, std: float) -> str:
    """Return both with as many decimals as two significant digits of the deviation have."""
    if std > 0 and math.isfinite(std) and math.isfinite(mean):
        decimals = max(0, 1 - int(f"{std:.1e}".partition("e")[2]))
        if decimals <= _MAX_DECIMALS and abs(mean) < 10**_MAX_DECIMALS:
            return f"{mean:.{decimals}f} ± {std:.{decimals}f}"
    return f"{mean:.4g} ± {std:.2g}"
