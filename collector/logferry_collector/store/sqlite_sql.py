"""Pieces of SQL as SQLite wants them: every value is a bound parameter, every path a quoted literal.

SQLite sorts all numbers before all text, which keeps a comparison within the kind of its value. The expression of a
value is the same text in queries and in the index made for it, or SQLite would not use that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from logferry_collector.store.database import Cover, Operand, Session
from logferry_collector.store.fragment import Sql, joined, sql
from logferry_collector.store.values import sought

_INFINITY = "9e999"  # how SQLite writes it


class SQLiteSQL:
    """The half of `Database` that only writes SQL."""

    def listed(self, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Sql:
        # As one parameter: there may be more rows than a statement has room for.
        names = ", ".join(f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(columns))
        return sql(f"(SELECT {names} FROM json_each(?))", json.dumps(rows))

    def present(self, operand: Operand) -> Sql:
        return sql("(? IS NOT NULL)", _raw(operand))

    def is_nan(self, operand: Operand, *, negated: bool) -> Sql:
        return sql(f"(? IS {'NOT ' * negated}'NaN')", _raw(operand))

    def number(self, operand: Operand) -> Sql:
        value = _value(operand)
        return sql("CASE WHEN ? < '' THEN ? END", value, value)

    def among(self, operand: Operand, values: Sequence[str | float], *, negated: bool) -> Sql:
        value = _value(operand)
        if any(str(one).startswith(("[", "{")) for one in values):
            # A list is its JSON to SQLite, and would equal the text of it.
            value = sql("CASE WHEN ? THEN x'00' ELSE ? END", _is_of(operand, "array", "object"), value)
        listed = sql("? IN (?)", value, joined(", ", [_bound(one) for one in values if not _is_long(one)]))
        # What is a float to SQLite is compared by its digits, too: seeds have 64 bits without a sign.
        long = [
            sql(
                "? = ? AND (NOT ? OR ? = ?)",
                value,
                _bound(one),
                _is_of(operand, "integer"),
                self.json(operand),
                str(one),
            )
            for one in values
            if _is_long(one)
        ]
        found = joined(" OR ", [listed, *long])
        return sql("(? IS NOT NULL AND NOT (?))", value, found) if negated else sql("(?)", found)

    def compared(self, operand: Operand, op: str, value: str | float) -> Sql:
        there = _value(operand)
        if isinstance(value, str):
            return sql(f"(? {op} ? AND ? >= '' AND ?)", there, sought(value), there, _is_of(operand, "text"))
        return sql(f"(? {op} ? AND ? < '')", there, _bound(value), there)

    def timed(self, operand: Operand, op: str, moment: datetime) -> Sql:
        value = _value(operand)
        day = sql("? GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'", value)
        return sql(f"(? AND julianday(?) {op} julianday(?))", day, value, moment.isoformat())

    def matches(self, operand: Operand, pattern: str, *, negated: bool) -> Sql:
        return sql(f"(? {'NOT ' * negated}REGEXP ? AND ?)", _value(operand), sought(pattern), _is_of(operand, "text"))

    def has(self, operand: Operand, values: Sequence[str | float], *, negated: bool) -> Sql:
        if operand.path is None:  # a text is no list
            return Sql("1 = 1" if negated else "1 = 0")
        each = sql("json_each(?, ?)", operand.column, _path(operand.path))
        found = sql("SELECT 1 FROM ? WHERE atom IN (?)", each, joined(", ", map(_bound, values)))
        return sql(f"{'NOT ' * negated}(? AND EXISTS (?))", _is_of(operand, "array"), found)

    def ordered(self, operand: Operand, *, desc: bool) -> Sql:
        return sql(f"?, ? {'DESC' if desc else 'ASC'}", _rank(operand), _value(operand))

    def grouped(self, operand: Operand) -> Sql:
        # What is taken out of JSON does not tell true from 1, nor a list from its text, nor long integers apart.
        raw = _raw(operand)
        long = sql("CASE WHEN typeof(?) = 'real' AND ? THEN ? END", raw, _is_of(operand, "integer"), self.json(operand))
        return sql("?, ?, ?", raw, _is_of(operand, "true", "false", "array", "object"), long)

    def json(self, operand: Operand) -> Sql:
        return operand.column if operand.path is None else sql("(? -> ?)", operand.column, _path(operand.path))

    def taken(self, operand: Operand) -> Sql:
        return _raw(operand)

    def figure(self, taken: Sql, operand: Operand) -> Sql:
        return _figure(taken, operand, nan="'NaN'")

    def mean(self, taken: Sql, operand: Operand) -> Sql:
        mean = sql("avg(?)", _figure(taken, operand, nan="NULL"))
        # To SQLite the text NaN is 0 in a sum.
        return sql("CASE WHEN count(nullif(? = 'NaN', 0)) = 0 THEN ? END", taken, mean) if operand.metric else mean

    def once(self, query: Sql) -> Sql:
        # A query with a limit is not merged into the one around it.
        return sql("? LIMIT -1", query)

    def cover(
        self,
        session: Session,
        name: str,
        grouped: Sequence[Operand],
        measured: Sequence[Operand],
        filtered: Sequence[Operand],
    ) -> None:
        columns = [*map(self.json, map(_bare, grouped)), *map(_raw, map(_bare, measured))]
        columns += [piece for one in map(_bare, filtered) for piece in (_raw(one), _kind(one))]
        held = joined(", ", [one for one in dict.fromkeys(columns) if one.text != "NULL"])
        session.run(sql(f'CREATE INDEX IF NOT EXISTS "{name}" ON result (?)', held))

    def covered(
        self, name: str, grouped: Sequence[Operand], measured: Sequence[Operand], filtered: Sequence[Operand]
    ) -> Cover:
        table = sql("result r ?", self.using(name))
        return Cover(table, [*map(self.json, grouped)], [*map(self.taken, measured)], filtered)

    def index(self, session: Session, name: str, operands: Sequence[Operand], *, desc: bool | None) -> None:
        first, *others = map(_bare, operands)
        leading = _value(first) if desc is None else self.ordered(first, desc=desc)
        columns = joined(", ", [leading, *map(_value, others)])
        session.run(sql(f'CREATE INDEX IF NOT EXISTS "{name}" ON result (?)', columns))

    def using(self, name: str) -> Sql:
        # SQLite does not see that a limit ends the walk early.
        return Sql(f'INDEXED BY "{name}" ')


def _bare(operand: Operand) -> Operand:
    """Return an operand without its table, as an index wants it."""
    return operand._replace(column=Sql(operand.column.text.removeprefix("r.")))


def _bound(value: str | float) -> str | float:
    """Return a value as SQLite has it: an integer beyond 64 bits is a float there."""
    if isinstance(value, str):
        return sought(value)
    if not _is_long(value):
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _is_long(value: str | float) -> bool:
    return isinstance(value, int) and not -(1 << 63) < value < 1 << 63


def _path(path: Sequence[str]) -> Sql:
    """Return a path as an SQL string literal; names with quotes or backslashes are in no catalogue (see `key`)."""
    inner = "".join(f'."{name}"' for name in path)
    return Sql("'$" + inner.replace("'", "''") + "'")


def _raw(operand: Operand) -> Sql:
    """Return a value as it is: NaN as its text."""
    return operand.column if operand.path is None else sql("json_extract(?, ?)", operand.column, _path(operand.path))


def _value(operand: Operand) -> Sql:
    """Return what is compared and sorted: NaN is NULL, infinities are numbers."""
    raw = _raw(operand)
    if not operand.metric:
        return raw
    infinities = f"WHEN 'Infinity' THEN {_INFINITY} WHEN '-Infinity' THEN -{_INFINITY}"
    return sql(f"CASE ? WHEN 'NaN' THEN NULL {infinities} ELSE ? END", raw, raw)


def _rank(operand: Operand) -> Sql:
    """Return the place of a value's kind in an order, whichever its direction: numbers, text, what is missing."""
    value = _value(operand)
    return sql("CASE WHEN ? < '' THEN 0 WHEN ? >= '' THEN 1 ELSE 2 END", value, value)


def _figure(raw: Sql, operand: Operand, nan: str) -> Sql:
    """Return a raw value as a number."""
    if not operand.metric:
        return sql("CASE WHEN ? < '' THEN ? END", raw, raw)
    texts = f"WHEN 'NaN' THEN {nan} WHEN 'Infinity' THEN {_INFINITY} WHEN '-Infinity' THEN -{_INFINITY}"
    return sql(f"CASE WHEN ? < '' THEN ? ELSE CASE ? {texts} END END", raw, raw, raw)


def _kind(operand: Operand) -> Sql:
    """Return the kind of a value in JSON, or null; of a column always null."""
    return Sql("NULL") if operand.path is None else sql("json_type(?, ?)", operand.column, _path(operand.path))


def _is_of(operand: Operand, *kinds: str) -> Sql:
    """Return a condition on the kind of a value in JSON; never unknown."""
    if operand.path is None:
        return Sql("1 = 1" if "text" in kinds else "1 = 0")
    return sql(f"ifnull(?, 'null') IN ({', '.join(map(repr, kinds))})", _kind(operand))
