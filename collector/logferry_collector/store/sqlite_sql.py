"""Queries as SQL for SQLite: every value is a bound parameter, every path a quoted literal.

A value is compared within its kind (number with number, text with text), because SQLite sorts all numbers before all
text. The expression of a key is the same text in queries and in the index made for it, or SQLite would not use that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logferry_collector.where import Comparison, Key, Query

FROM = "FROM result r JOIN candidate c ON c.id = r.candidate"
_COLUMNS = {"experiment_id": "r.experiment_id", "run_id": "r.run_id", "host": "r.host"}
_TEXT_FIELDS = frozenset("experiment_id run_id timestamp status model dataset notes group host started owner".split())
_INFINITY = "9e999"  # how SQLite writes it


def json_path(path: Sequence[str]) -> str:
    """Return a path as an SQL string literal; names with quotes or backslashes are in no catalogue (see `key`)."""
    inner = "".join(f'."{name}"' for name in path)
    return "'$" + inner.replace("'", "''") + "'"


def raw(key: Key, table: str = "r.") -> str:
    """Return the expression of a key's value as it stands in the document."""
    if key.section == "field":
        return _COLUMNS.get(key.name) or f"json_extract(c.document, {json_path(key.path)})"
    return f"json_extract({table}{key.section}, {json_path(key.path)})"


def ordered(key: Key, table: str = "r.") -> str:
    """Return the expression that is compared and sorted: NaN is NULL, infinities are numbers."""
    value = raw(key, table)
    if key.section != "metrics":
        return value
    return (
        f"CASE {value} WHEN 'NaN' THEN NULL WHEN 'Infinity' THEN {_INFINITY} WHEN '-Infinity' THEN -{_INFINITY} "
        f"ELSE {value} END"
    )


def status(query: Query) -> tuple[str, list[Any]]:
    """Return the expression of the status as it is shown: LOST where a host fell silent."""
    if not query.lost_hosts:
        return "r.status", []
    marks = ",".join("?" * len(query.lost_hosts))
    return (
        f"CASE WHEN r.status = 'RUNNING' AND r.mtime_ns < ? AND r.host IN ({marks}) THEN 'LOST' ELSE r.status END",
        [query.lost_before_ns, *query.lost_hosts],
    )


def shown(key: Key, query: Query, *, sortable: bool = False) -> tuple[str, list[Any]]:
    """Return the expression of a key in a query, and its parameters."""
    if key == ("field", ("status",)):
        return status(query)
    return (ordered if sortable else raw)(key), []


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
        expression, bound = shown(query.sort, query, sortable=True)
        order = f"{expression} {'DESC' if query.desc else 'ASC'} NULLS LAST, "
        parameters += bound
    direction = "DESC" if query.desc and query.sort is None else "ASC"
    parts.append(f"ORDER BY {order}r.experiment_id {direction}, r.run_id {direction}")
    if query.limit is not None:
        parts.append("LIMIT ?")
        parameters.append(query.limit)
    return " ".join(parts), parameters


def _condition(comparison: Comparison, query: Query) -> tuple[str, list[Any]]:
    expression, before = shown(comparison.key, query, sortable=True)
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
