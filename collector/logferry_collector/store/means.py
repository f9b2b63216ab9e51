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
from logferry_collector.store.database import Cover, Database, Operand
from logferry_collector.store.fragment import Sql, joined, sql
from logferry_collector.store.indexes import Indexes
from logferry_collector.store.query_sql import QuerySQL
from logferry_collector.where import And, Is, Key, Query, keys_of

# Two columns each; a statement has room for 2,000 at most.
MAX_METRICS = 400


def means(
    database: Database, indexes: Indexes, query: Query, keys: Sequence[Key], over: Key | None, metrics: Sequence[Key]
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the keys' values, that of `over` or None, and of each metric (how many runs, their mean)."""
    grouped = (*keys, *((over,) if over else ()))
    # Whether `over` is there is asked, too.
    filtered = list(dict.fromkeys([*keys_of(query.where), *grouped[len(keys) :]]))
    cover = indexes.cover(query, grouped, metrics, filtered)
    held = dict(zip(filtered, cover.filtered, strict=True)) if cover else {}
    plain, made = QuerySQL(database, query), QuerySQL(database, query, held)
    operands, measured = ([plain.operand(key) for key in some] for some in (grouped, metrics))
    heads, taken = list(map(database.json, operands)), list(map(database.taken, measured))
    readers = list(map(_reader, operands))
    if over is not None:
        pieces, source = _source(database, cover, heads, taken, made.where())
        figures = [
            piece
            for one, operand in zip(pieces[len(heads) :], measured, strict=True)
            for piece in (sql("count(?)", database.figure(one, operand)), database.mean(one, operand))
        ]
        # By place: the same text with other parameters is another.
        places = ", ".join(str(place + 1) for place in range(len(heads)))
        columns = joined(", ", [*pieces[: len(heads)], *figures])
        alone = False
        for row in database.rows(sql(f"SELECT ? ? GROUP BY {places}", columns, source)):
            values = [read(value) for read, value in zip(readers, row, strict=False)]
            if values[-1] is None:
                alone = True
                continue
            found = iter(row[len(heads) :])
            yield (*values, *((n, _number("NaN" if mean is None and n else mean)) for n, mean in zip(found, found)))  # noqa: B905
        if not alone:
            return
        made = QuerySQL(database, replace(query, where=And((query.where, Is(over, "null")))), held)
    pieces, source = _source(database, cover, heads, taken, made.where())
    figures = [database.figure(one, operand) for one, operand in zip(pieces[len(heads) :], measured, strict=True)]
    for row in database.rows(sql("SELECT ? ?", joined(", ", [*pieces[: len(keys)], *figures, Sql("NULL")]), source)):
        values = [read(value) for read, value in zip(readers[: len(keys)], row, strict=False)]
        yield (*values, None, *map(single, row[len(keys) : -1]))


def _source(
    database: Database, cover: Cover | None, heads: list[Sql], taken: list[Sql], where: Sql
) -> tuple[list[Sql], Sql]:
    """Return what stands for some pieces, and FROM what.

    A cover has them; without one each is taken out of its document once, however often it is used.
    """
    if cover:
        return [*cover.grouped, *cover.measured], sql("FROM ??", cover.table, where)
    pieces = [*heads, *taken]
    names = [Sql(f"v{place}") for place in range(len(pieces))]
    columns = joined(", ", [*(sql("? AS ?", *pair) for pair in zip(pieces, names, strict=True)), Sql("NULL AS v")])
    return names, sql("FROM (?) AS taken", database.once(sql("SELECT ? FROM result r ?", columns, where)))


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
