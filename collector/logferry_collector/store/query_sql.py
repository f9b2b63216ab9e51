"""Queries as SQL, for every database alike: what differs between them is asked of `Database`.

Of a condition a database needs to know only where it is certainly true (see where.py), so that unknown may be false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from logferry_collector.silence import SILENT_NS
from logferry_collector.store.database import Database, Operand
from logferry_collector.store.fragment import Sql, joined, sql
from logferry_collector.where import And, Condition, Expression, Has, Is, Key, Literal, Matches, OneOf, Or, Order, Query

FROM = Sql("FROM result r")
_COLUMNS = {name: Operand(Sql(f"r.{name}")) for name in ("experiment_id", "run_id", "status", "host")}
_SECTIONS = {"config": Sql("r.config"), "metrics": Sql("r.metrics"), "field": Sql("r.fields")}


class QuerySQL:
    """One query's pieces of SQL."""

    def __init__(self, database: Database, query: Query, held: Mapping[Key, Operand] = MappingProxyType({})) -> None:
        """`held` has the keys whose values lie elsewhere than in `result`."""
        self._database, self._query, self._held = database, query, held

    def operand(self, key: Key) -> Operand:
        """Return where a key's value lies."""
        if key in self._held:
            return self._held[key]
        if key.section == "field":
            if key.name == "status":
                return Operand(self.status())
            if key.name in _COLUMNS:
                return _COLUMNS[key.name]
            if key.path[0] in _SECTIONS:
                return Operand(_SECTIONS[key.path[0]], key.path[1:])
        return Operand(_SECTIONS[key.section], key.path, metric=key.section == "metrics")

    def status(self) -> Sql:
        """Return the status as it is shown: LOST where a host fell silent."""
        query = self._query
        if not query.lost_hosts:
            return Sql("r.status")
        hosts = self._database.listed({"host": "text"}, [(host,) for host in query.lost_hosts])
        lost = sql(
            "r.status = 'RUNNING' AND r.mtime_ns NOT BETWEEN ? AND ? AND r.host IN (SELECT host FROM ? AS v)",
            query.lost_before_ns,
            # A file from the future was stamped before the clock was set back, and says nothing.
            query.lost_before_ns + 2 * SILENT_NS,
            hosts,
        )
        return sql("CASE WHEN ? THEN 'LOST' ELSE r.status END", lost)

    def where(self) -> Sql:
        """Return WHERE; of results that agree in some keys it lets only the first in the order through."""
        query = self._query
        holds = sql(" WHERE ?", self._holds(query.where))
        if query.first_of is None:
            return holds
        groups = [self._database.grouped(self.operand(key)) for key in query.first_of]
        partition = sql("PARTITION BY ?", joined(", ", groups)) if groups else Sql("")
        place = sql("row_number() OVER (??) AS place", partition, self.order())
        ranked = sql("SELECT r.experiment_id, r.run_id, ? ??", place, FROM, holds)
        first = sql("SELECT experiment_id, run_id FROM (?) AS ranked WHERE place = 1", ranked)
        return sql(" WHERE (r.experiment_id, r.run_id) IN (?)", first)

    def order(self) -> Sql:
        query = self._query
        direction = Sql("DESC" if query.desc and query.sort is None else "ASC")
        ids = sql("r.experiment_id ?, r.run_id ?", direction, direction)
        if query.sort is None:
            return sql(" ORDER BY ?", ids)
        return sql(" ORDER BY ?, ?", self._database.ordered(self.operand(query.sort), desc=query.desc), ids)

    def limit(self) -> Sql:
        return Sql("") if self._query.limit is None else sql(" LIMIT ?", self._query.limit)

    def tail(self) -> Sql:
        """Return all that stands behind FROM."""
        return joined("", [self.where(), self.order(), self.limit()])

    def _holds(self, expression: Expression) -> Sql:
        if isinstance(expression, And | Or):
            if not expression.parts:
                return Sql("1 = 1" if isinstance(expression, And) else "1 = 0")
            joint = " AND " if isinstance(expression, And) else " OR "
            return sql("(?)", joined(joint, map(self._holds, expression.parts)))
        return self._condition(expression)

    def _condition(self, condition: Condition) -> Sql:
        database, operand = self._database, self.operand(condition.key)
        match condition:
            case OneOf(_, literals, negated):
                return database.among(operand, _values(literals), negated=negated)
            case Order(_, op, literal):
                value = literal.value
                if isinstance(value, datetime):
                    return database.timed(operand, op, value)
                return database.compared(operand, op, value)
            case Matches(_, pattern, negated):
                return database.matches(operand, pattern, negated=negated)
            case Has(_, literal, negated):
                return database.has(operand, _values([literal]), negated=negated)
            case Is(_, "nan", negated):
                return database.is_nan(operand, negated=negated)
            case Is(_, _, negated):
                return sql("NOT ?" if not negated else "?", database.present(operand))


def _values(literals: Sequence[Literal]) -> list[str | float]:
    """Return what literals may be in the document: a number that somebody wrote as text is found too."""
    return [one for literal in literals for one in dict.fromkeys(literal) if not isinstance(one, datetime)]
