"""What groups are made of: for each repetition, the mean of each metric over its runs, worked out by the database.

A repetition is the runs that agree in the keys of their group and in `over`; a run without a value there is one by
itself. There are few of them where `over` is a seed, so that what is left to do is done in Python (group.py), where
deviations are exact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

from logferry.results import number
from logferry_collector.store.database import Database, Operand
from logferry_collector.store.fragment import Sql, joined, sql
from logferry_collector.store.query_sql import QuerySQL
from logferry_collector.where import And, Is, Key, Query

# Two columns each; a statement has room for 2,000 at most.
MAX_METRICS = 400


def means(
    database: Database, using: Sql, query: Query, keys: Sequence[Key], over: Key | None, metrics: Sequence[Key]
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the keys' values, that of `over` or None, and of each metric (how many runs, their mean)."""
    made = QuerySQL(database, query)
    operands = [made.operand(key) for key in (*keys, *([over] if over else []))]
    measured = [made.operand(metric) for metric in metrics]
    heads = list(map(database.json, operands))
    readers = list(map(_reader, operands))
    table = sql("FROM result r ?", using)
    if over is not None:
        places = ", ".join(
            str(place + 1) for place in range(len(heads))
        )  # the same text with other parameters is another
        columns = joined(", ", [*heads, *(piece for one in measured for piece in _mean(database, one))])
        alone = False
        for row in database.rows(sql(f"SELECT ? ?? GROUP BY {places}", columns, table, made.where())):
            values = [read(value) for read, value in zip(readers, row, strict=False)]
            if values[-1] is None:
                alone = True
                continue
            figures = iter(row[len(heads) :])
            yield (
                *values,
                *(
                    (n, _number("NaN" if mean is None and n else mean))
                    for n, mean in zip(figures, figures, strict=True)
                ),
            )
        if not alone:
            return
        made = QuerySQL(database, replace(query, where=And((query.where, Is(over, "null")))))
    columns = joined(", ", [*heads[: len(keys)], *map(database.figure, measured), Sql("NULL")])
    for row in database.rows(sql("SELECT ? ??", columns, table, made.where())):
        values = [read(value) for read, value in zip(readers[: len(keys)], row, strict=False)]
        yield (*values, None, *map(single, row[len(keys) : -1]))


def _mean(database: Database, operand: Operand) -> tuple[Sql, Sql]:
    return sql("count(?)", database.figure(operand)), database.mean(operand)


def _reader(operand: Operand) -> Callable[[Any], Any]:
    """Return what makes a value of what the database gives for it: a column is text, all else is JSON."""
    return _itself if operand.path is None else _parsed()


def _itself(value: Any) -> Any:
    return value


def _parsed() -> Callable[[Any], Any]:
    @cache
    def parsed(text: str | None) -> Any:
        return None if text is None else json.loads(text)

    return parsed


def single(value: Any) -> tuple[int, float | None]:
    """Return how many figures a value of a document is, none or one, and the figure."""
    figure = number(value)
    return (1, _number(figure)) if isinstance(figure, int | float | Decimal) else (0, None)


def _number(value: Any) -> float | None:
    """Return a metric as a float; a text says NaN."""
    try:
        return None if value is None else float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
