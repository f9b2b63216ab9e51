"""Queries as SQL for SQLite: every value is a bound parameter, every path a quoted literal.

A value is compared within its kind (number with number, text with text), because SQLite sorts all numbers before all
text. The expression of a key is the same text in queries and in the index made for it, or SQLite would not use that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from logferry_collector.where import Comparison, Key, Query

FROM = "FROM result r JOIN candidate c ON c.id = r.candidate"
RUN_ID, STATUS = "r.run_id", "r.status"
_COLUMNS = {"experiment_id": "r.experiment_id", "run_id": RUN_ID, "status": STATUS, "host": "r.host"}
# Columns that hold a map as JSON.
_DOCUMENT = "c.document"
MAPS = frozenset({_DOCUMENT, "r.config", "r.metrics"})
_TEXT_FIELDS = frozenset("experiment_id run_id timestamp status model dataset notes group host started owner".split())
_INFINITY = "9e999"  # how SQLite writes it


def json_path(path: Sequence[str]) -> str:
    """Return a path as an SQL string literal; names with quotes or backslashes are in no catalogue (see `key`)."""
    inner = "".join(f'."{name}"' for name in path)
    return "'$" + inner.replace("'", "''") + "'"


def source(key: Key) -> str:
    """Return the column that a key's value is, or is in (see `MAPS`)."""
    if key.section == "field":
        return _COLUMNS.get(key.name, _DOCUMENT)
    return f"r.{key.section}"


def ordered(key: Key, alias: str = "r.") -> str:
    """Return the expression that is compared and sorted: NaN is NULL, infinities are numbers."""
    column = source(key) if key.section == "field" else f"{alias}{key.section}"
    value = (
        column if key.section == "field" and column not in MAPS else f"json_extract({column}, {json_path(key.path)})"
    )
    if key.section != "metrics":
        return value
    return (
        f"CASE {value} WHEN 'NaN' THEN NULL WHEN 'Infinity' THEN {_INFINITY} WHEN '-Infinity' THEN -{_INFINITY} "
        f"ELSE {value} END"
    )


def status(query: Query) -> tuple[str, list[Any]]:
    """Return the expression of the status as it is shown: LOST where a host fell silent."""
    if not query.lost_hosts:
        return STATUS, []
    # As one parameter: there may be more hosts than a statement has room for.
    lost = "r.status = 'RUNNING' AND r.mtime_ns < ? AND r.host IN (SELECT value FROM json_each(?))"
    return f"CASE WHEN {lost} THEN 'LOST' ELSE r.status END", [query.lost_before_ns, json.dumps(query.lost_hosts)]


def _compared(key: Key, query: Query) -> tuple[str, list[Any]]:
    """Return the expression of a key in a condition or an order, and its parameters."""
    return status(query) if source(key) == STATUS else (ordered(key), [])


def tail_of(query: Query) -> tuple[str, list[Any]]:
    """Return WHERE, ORDER BY and LIMIT of a query, and their parameters."""
    parts: list[str] = []
    parameters: list[Any] = []
    for rank, comparison in enumerate(query.where):
        condition, bound = _condition(comparison, query)
        parts.append(("WHERE " if rank == 0 else "AND ") + condition)
        parameters += bound
    order = ""
    if query.sort is not None:
        expression, bound = _compared(query.sort, query)
        order = f"{expression} {'DESC' if query.desc else 'ASC'} NULLS LAST, "
        parameters += bound
    direction = "DESC" if query.desc and query.sort is None else "ASC"
    parts.append(f"ORDER BY {order}r.experiment_id {direction}, r.run_id {direction}")
    if query.limit is not None:
        parts.append("LIMIT ?")
        parameters.append(query.limit)
    return " ".join(parts), parameters


def _condition(comparison: Comparison, query: Query) -> tuple[str, list[Any]]:
    expression, before = _compared(comparison.key, query)
    values = _values(comparison)
    if comparison.op == "=":
        return f"{expression} IN ({','.join('?' * len(values))})", [*before, *values]
    if comparison.op == "!=":
        return f"{expression} NOT IN ({','.join('?' * len(values))})", [*before, *values]
    value = values[0]
    # All numbers sort before all text: this keeps the comparison within the kind of its value, and within an index.
    bound = f"{expression} >= ''" if isinstance(value, str) else f"{expression} < ''"
    return f"({expression} {comparison.op} ? AND {bound})", [*before, value, *before]


def _values(comparison: Comparison) -> list[Any]:
    """Return what a literal may be in the document: a number that somebody wrote as text is found too."""
    if comparison.key.section == "field" and comparison.key.name in _TEXT_FIELDS:
        return [comparison.text]
    if isinstance(comparison.value, str):
        return [comparison.value]
    return [comparison.value, comparison.text]
