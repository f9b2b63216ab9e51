"""Queries as SQL for SQLite: every value is a bound parameter, every path a quoted literal.

A value is compared within its kind (number with number, text with text), because SQLite sorts all numbers before all
text. The expression of a key is the same text in queries and in the index made for it, or SQLite would not use that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from logferry_collector.where import And, Expression, Has, Is, Key, Literal, Matches, OneOf, Or, Order, Query

FROM = "FROM result r JOIN candidate c ON c.id = r.candidate"
RUN_ID, STATUS = "r.run_id", "r.status"
_COLUMNS = {"experiment_id": "r.experiment_id", "run_id": RUN_ID, "status": STATUS, "host": "r.host"}
# Columns that hold a map as JSON.
_DOCUMENT = "c.document"
MAPS = frozenset({_DOCUMENT, "r.config", "r.metrics"})
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
    condition, parameters = _condition(query.where, query)
    order, order_parameters = _order(query)
    if query.first_of is not None:
        groups = [_compared(key, query) for key in query.first_of]
        partition = f"PARTITION BY {', '.join(text for text, _ in groups)}" if groups else ""
        ranked = f"SELECT r.experiment_id e, r.run_id i, row_number() OVER ({partition} ORDER BY {order}) place {FROM}"
        condition = f"(r.experiment_id, r.run_id) IN (SELECT e, i FROM ({ranked} WHERE {condition}) WHERE place = 1)"  # noqa: S608
        parameters = [*(one for _, bound in groups for one in bound), *order_parameters, *parameters]
    tail = f"WHERE {condition} ORDER BY {order}"
    parameters += order_parameters
    return (tail, parameters) if query.limit is None else (f"{tail} LIMIT ?", [*parameters, query.limit])


def _order(query: Query) -> tuple[str, list[Any]]:
    direction = "DESC" if query.desc and query.sort is None else "ASC"
    ids = f"r.experiment_id {direction}, r.run_id {direction}"
    if query.sort is None:
        return ids, []
    expression, bound = _compared(query.sort, query)
    return f"{expression} {'DESC' if query.desc else 'ASC'} NULLS LAST, {ids}", bound


def _condition(expression: Expression, query: Query) -> tuple[str, list[Any]]:
    """Return what is true exactly where an expression certainly holds."""
    if isinstance(expression, And | Or):
        joint = " AND " if isinstance(expression, And) else " OR "
        parts = [_condition(part, query) for part in expression.parts]
        text = joint.join(text for text, _ in parts)
        return f"({text})" if text else "1", [one for _, bound in parts for one in bound]
    key = expression.key
    value, before = _compared(key, query)
    match expression:
        case OneOf(_, literals, negated):
            values = _values(literals)
            operator = "NOT IN" if negated else "IN"
            # A list is its JSON to SQLite, and would equal the text of it.
            is_list = _is_of(key, "array", "object") if any(str(one).startswith(("[", "{")) for one in values) else "0"
            mended = f"CASE WHEN {is_list} THEN x'00' ELSE {value} END" if is_list != "0" else value
            return f"{mended} {operator} ({','.join('?' * len(values))})", [*before, *values]
        case Order(_, op, Literal(datetime() as moment, _)):
            day = f"{value} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
            return f"({day} AND julianday({value}) {op} julianday(?))", [*before, *before, moment.isoformat()]
        case Order(_, op, Literal(str() as text, _)):
            # All numbers sort before all text: this keeps the comparison within the kind of its value, and in an index.
            kind = _is_of(key, "text")
            return f"({value} {op} ? AND {value} >= '' AND {kind})", [*before, text, *before]
        case Order(_, op, Literal(number, _)):
            return f"({value} {op} ? AND {value} < '')", [*before, number, *before]
        case Matches(_, pattern, negated):
            return f"({value} {'NOT ' * negated}REGEXP ? AND {_is_of(key, 'text')})", [*before, pattern]
        case Is(_, "null", negated):
            return f"{_raw(key)} IS {'NOT ' * negated}NULL", []
        case Is(_, _, negated):
            return f"{_raw(key)} IS {'NOT ' * negated}'NaN'", []
        case Has(_, literal, negated):
            values = _values([literal])
            column, path = _place(key)
            found = f"SELECT 1 FROM json_each({column}, {path}) WHERE atom IN ({','.join('?' * len(values))})"  # noqa: S608
            return f"{'NOT ' * negated}({_is_of(key, 'array')} AND EXISTS ({found}))", values


def _place(key: Key) -> tuple[str, str]:
    """Return the column of JSON that a key is in, and the path there."""
    return source(key) if source(key) in MAPS else _DOCUMENT, json_path(key.path)


def _raw(key: Key) -> str:
    """Return a value as it is: NaN as its text."""
    return source(key) if source(key) not in MAPS else f"json_extract({source(key)}, {json_path(key.path)})"


def _is_of(key: Key, *kinds: str) -> str:
    """Return a condition on the kind of a value in JSON; never unknown."""
    column, path = _place(key)
    return f"ifnull(json_type({column}, {path}), 'null') IN ({', '.join(map(repr, kinds))})"


def _values(literals: Sequence[Literal]) -> list[Any]:
    """Return what literals may be in the document: a number that somebody wrote as text is found too."""
    return [one for literal in literals for one in dict.fromkeys(literal) if not isinstance(one, datetime)]
