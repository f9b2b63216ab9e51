"""What a database does its own way: connections, bulk statements, JSON, and the words of its errors.

All else is written once: reading in relational.py, queries as SQL in query_sql.py, writing in writing.py. A value in a
document is compared within its kind, number with number and text with text, by every database alike; true is 1, false
is 0; among metrics NaN is missing, and the infinities are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from logferry_collector.store.fragment import Sql

# Before the names of what is made for questions.
ASKED = "asked_"


class Operand(NamedTuple):
    """Where a value lies: in a column of text, or at a path of a column of JSON."""

    column: Sql
    path: tuple[str, ...] | None = None
    metric: bool = False


class Cover(NamedTuple):
    """What some groups are made from: a table `r`, and what there stands for each of their values."""

    table: Sql
    grouped: Sequence[Sql]
    measured: Sequence[Sql]
    filtered: Sequence[Operand]


class Session(Protocol):
    """A transaction of the one writer."""

    def run(self, statement: Sql) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows, if it is one that has any."""

    def insert(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Put rows into a table, many at once."""

    def note(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Put in those rows whose primary key is not there yet."""


class Database(Protocol):
    """A database that is open. Any method may raise `StoreDownError` or `StoreRefusedError`."""

    @property
    def url(self) -> str: ...

    def writing(self) -> AbstractContextManager[Session]:
        """Take the one place of the writer; nothing stays when anything fails."""

    def rows(self, statement: Sql) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a query as they come; they are never all in memory."""

    def ask(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Return columns and rows of a user's query, which the database itself keeps from writing.

        Raises:
            QueryError: it is no query, or would write.

        """

    def check(self) -> None:
        """Raise `StoreDownError` where what was opened is no longer what the URL names."""

    def index(self, session: Session, name: str, operands: Sequence[Operand], *, desc: bool | None) -> None:
        """Make an index of `result` by the first value, which holds the others too where that can be.

        `desc` says the direction in which it is `ordered`; without one it is only looked up.
        """

    def drop_index(self, name: str) -> None:
        """Remove an index, unless that would have to wait for somebody who reads."""

    def using(self, name: str) -> Sql:
        """Return what makes the database use an index, where it would not find that by itself; with a blank."""

    def indexes(self, prefix: str) -> list[str]:
        """Return the names of some indexes, the oldest first."""

    def damage(self) -> list[str]:
        """Return what the database itself finds wrong with its files, and with what was made for questions."""

    def close(self) -> None: ...

    # Pieces of SQL
    def listed(self, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Sql:
        """Return rows of values as a table to select from; `columns` is their names and types, bigint or text."""

    def present(self, operand: Operand) -> Sql:
        """Return whether a value is there, and is not null."""

    def is_nan(self, operand: Operand, *, negated: bool) -> Sql: ...

    def number(self, operand: Operand) -> Sql:
        """Return the value as a number, or null."""

    def among(self, operand: Operand, values: Sequence[str | float], *, negated: bool) -> Sql:
        """Return whether the value is there and equals one of some; negated: is there and equals none."""

    def compared(self, operand: Operand, op: str, value: str | float) -> Sql:
        """Return whether the value is of a value's kind and `<`, `<=`, `>` or `>=` than it."""

    def timed(self, operand: Operand, op: str, moment: datetime) -> Sql:
        """Return whether the value is a time before or after a moment."""

    def matches(self, operand: Operand, pattern: str, *, negated: bool) -> Sql:
        """Return whether the value is a text and a regular expression is found in it, or is not."""

    def has(self, operand: Operand, values: Sequence[str | float], *, negated: bool) -> Sql:
        """Return whether the value is a list with one of some values, or is not."""

    def ordered(self, operand: Operand, *, desc: bool) -> Sql:
        """Return what stands behind ORDER BY: numbers, then text, then what is missing, in both directions."""

    def grouped(self, operand: Operand) -> Sql:
        """Return what is equal where values are, for GROUP BY."""

    def json(self, operand: Operand) -> Sql:
        """Return the value as the text of its JSON, of a column the text itself; null where it is missing."""

    def taken(self, operand: Operand) -> Sql:
        """Return what `figure` and `mean` are made of, with all that has to be looked up in a document."""

    def figure(self, taken: Sql, operand: Operand) -> Sql:
        """Return the value as a number, or as whatever the database has for NaN; null where it is neither."""

    def mean(self, taken: Sql, operand: Operand) -> Sql:
        """Return the mean of a group's numbers: NaN or null where one is NaN."""

    def once(self, query: Sql) -> Sql:
        """Return a query to select from, whose columns are worked out once, however often they are used."""

    def cover(
        self,
        session: Session,
        name: str,
        grouped: Sequence[Operand],
        measured: Sequence[Operand],
        filtered: Sequence[Operand],
    ) -> None:
        """Make what has all the values of some groups, so that no document is looked at."""

    def covered(
        self, name: str, grouped: Sequence[Operand], measured: Sequence[Operand], filtered: Sequence[Operand]
    ) -> Cover:
        """Return what `cover` has made."""
