"""Pieces of SQL as PostgreSQL wants them: every value is a bound parameter, every name a quoted literal.

Numbers are `numeric`, so that a seed of 64 bits equals only itself. An expression has one type, so a value is two: its
number and its text; each is the same text in queries and in the index made for it, or PostgreSQL would not use that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from logferry_collector.store.database import Cover, Operand, Session
from logferry_collector.store.fragment import Sql, joined, sql
from logferry_collector.store.projection import made
from logferry_collector.store.values import sought

_INFINITIES = "WHEN 'Infinity' THEN 'Infinity'::numeric WHEN '-Infinity' THEN '-Infinity'::numeric"
# Texts that are numbers among metrics.
_NUMBERS = Sql("'NaN', 'Infinity', '-Infinity'")


class PostgresSQL:
    """The half of `Database` that only writes SQL."""

    def listed(self, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Sql:
        lists = [sql(f"?::{kind}[]", [row[at] for row in rows]) for at, kind in enumerate(columns.values())]
        return sql(f"(SELECT * FROM unnest(?) AS u({', '.join(columns)}))", joined(", ", lists))

    def present(self, operand: Operand) -> Sql:
        if operand.path is None:
            return sql("(? IS NOT NULL)", operand.column)
        return sql("(coalesce(jsonb_typeof(?), 'null') != 'null')", _raw(operand))

    def is_nan(self, operand: Operand, *, negated: bool) -> Sql:
        return sql(f"(? IS {'NOT ' * (not negated)}DISTINCT FROM 'NaN')", _text(operand._replace(metric=False)))

    def number(self, operand: Operand) -> Sql:
        return Sql("NULL::numeric") if operand.path is None else _number(operand, _INFINITIES)

    def among(self, operand: Operand, values: Sequence[str | float], *, negated: bool) -> Sql:
        texts = [sought(one) for one in values if isinstance(one, str)]
        numbers = [_numeric(one) for one in values if not isinstance(one, str)]
        either = []
        if texts:
            either.append(sql("? IN (?)", _text(operand), joined(", ", texts)))
        if numbers and operand.path is not None:
            either.append(sql("? IN (?)", self.number(operand), joined(", ", numbers)))
        if not negated:
            return sql("(?)", joined(" OR ", either))
        none = joined(" AND ", [sql("(?) IS NOT TRUE", one) for one in either])
        # NaN among metrics is missing.
        there = [self.present(operand)] + [self.is_nan(operand, negated=True)] * operand.metric
        return sql("(? AND ?)", joined(" AND ", there), none)

    def compared(self, operand: Operand, op: str, value: str | float) -> Sql:
        if isinstance(value, str):
            return sql(f"(? {op} ?)", _text(operand), sought(value))
        return sql(f"(? {op} ?)", self.number(operand), _numeric(value))

    def timed(self, operand: Operand, op: str, moment: datetime) -> Sql:
        text = _text(operand)
        return sql(f"(? ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}' AND logferry_time(?) {op} ?)", text, text, moment)

    def matches(self, operand: Operand, pattern: str, *, negated: bool) -> Sql:
        return sql(f"(? {'!' * negated}~ ?)", _text(operand), sought(pattern))

    def has(self, operand: Operand, values: Sequence[str | float], *, negated: bool) -> Sql:
        if operand.path is None:  # a text is no list
            return Sql("1 = 1" if negated else "1 = 0")
        raw = _raw(operand)
        each = sql("jsonb_array_elements(CASE jsonb_typeof(?) WHEN 'array' THEN ? END)", raw, raw)
        item = Operand(Sql("item.value"), ())
        found = sql("SELECT 1 FROM ? AS item(value) WHERE ?", each, self.among(item, values, negated=False))
        return sql(f"{'NOT ' * negated}EXISTS (?)", found)

    def ordered(self, operand: Operand, *, desc: bool) -> Sql:
        direction = f"{'DESC' if desc else 'ASC'} NULLS LAST"
        if operand.path is None:
            return sql(f"? {direction}", operand.column)
        number, text = self.number(operand), _text(operand)
        return sql(f"? {direction}, ? {direction}", number, text)

    def grouped(self, operand: Operand) -> Sql:
        return operand.column if operand.path is None else sql("nullif(?, 'null')", _raw(operand))

    def json(self, operand: Operand) -> Sql:
        return operand.column if operand.path is None else sql("(?)::text", _raw(operand))

    def taken(self, operand: Operand) -> Sql:
        nan = "WHEN 'NaN' THEN 'NaN'::numeric"
        return Sql("NULL::numeric") if operand.path is None else _number(operand, f"{nan} {_INFINITIES}")

    def figure(self, taken: Sql, operand: Operand) -> Sql:  # noqa: ARG002
        return taken

    def mean(self, taken: Sql, operand: Operand) -> Sql:  # noqa: ARG002
        return sql("avg(?)", taken)

    def once(self, query: Sql) -> Sql:
        # A query with an offset is not merged into the one around it.
        return sql("? OFFSET 0", query)

    def cover(
        self,
        session: Session,
        name: str,
        grouped: Sequence[Operand],
        measured: Sequence[Operand],
        filtered: Sequence[Operand],
    ) -> None:
        pieces = map(self.json, grouped), map(self.taken, measured), map(_raw, filtered)
        for statement in made(name, *map(list, pieces)):
            session.run(statement)

    def covered(
        self, name: str, grouped: Sequence[Operand], measured: Sequence[Operand], filtered: Sequence[Operand]
    ) -> Cover:
        held = [one._replace(column=Sql(f"r.w{place}"), path=one.path and ()) for place, one in enumerate(filtered)]
        keys = [Sql(f"r.k{place}") for place in range(len(grouped))]
        metrics = [Sql(f"r.m{place}") for place in range(len(measured))]
        return Cover(Sql(f'"{name}" r'), keys, metrics, held)

    def index(self, session: Session, name: str, operands: Sequence[Operand], *, desc: bool | None) -> None:
        first = operands[0]._replace(column=Sql(operands[0].column.text.removeprefix("r.")))
        order = "DESC NULLS LAST" if desc else ""
        session.run(sql(f'CREATE INDEX IF NOT EXISTS "{name}" ON result ((?) {order})', self.number(first)))
        # Without statistics of the expression it is guessed to be rare.
        session.run(Sql("ANALYZE result"))

    def using(self, name: str) -> Sql:  # noqa: ARG002
        return Sql("")


def _raw(operand: Operand) -> Sql:
    column, path = operand.column, operand.path or ()
    return Sql("(" + " -> ".join([column.text, *(f"'{_quoted(name)}'" for name in path)]) + ")", column.bound)


def _quoted(name: str) -> str:
    return sought(name).replace("'", "''")


def _text(operand: Operand) -> Sql:
    if operand.path is None:
        return operand.column
    raw = _raw(operand)
    text = sql("""(CASE jsonb_typeof(?) WHEN 'string' THEN ? #>> '{}' END COLLATE "C")""", raw, raw)
    return sql("(CASE WHEN ? NOT IN (?) THEN ? END)", text, _NUMBERS, text) if operand.metric else text


def _number(operand: Operand, texts: str) -> Sql:
    """Return a value as a number; `texts` says which numbers some texts among metrics are."""
    raw = _raw(operand)
    text = sql(f"WHEN 'string' THEN CASE ? #>> '{{}}' {texts} END", raw) if operand.metric else Sql("")
    kinds = sql("WHEN 'number' THEN (?)::numeric WHEN 'boolean' THEN (?)::boolean::int::numeric ?", raw, raw, text)
    return sql("CASE jsonb_typeof(?) ? END", raw, kinds)


def _numeric(value: float) -> Decimal | int:
    """Return a number as the digits that stand in documents."""
    return Decimal(repr(value)) if isinstance(value, float) else int(value)
