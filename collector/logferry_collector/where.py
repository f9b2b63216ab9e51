"""WHERE: which results are meant, as a tree that any store can turn into its own query.

A result's value may be missing, so a condition is true, false or unknown, as in SQL, and a result is selected where the
whole is true: `not` of unknown is unknown, and `or` and `and` are unknown where the rest does not decide. The tree has
no node for `not`: the parser moves it down to the conditions, each of which has a form that is true exactly where the
other is false. So a store needs to know of a condition only where it is **certainly true**:

* `OneOf` (`=`, `!=`, `in`): unknown where the value is missing, null or NaN. A number equals the text of it as it
  stands in the query; a boolean counts as 1 or 0, here and in `Order`.
* `Order` (`<`, `<=`, `>`, `>=`): unknown where the value is missing, null, NaN or of another kind than the literal:
  numbers are compared with numbers, text with text (by code points), times with times.
* `Matches` (`~`): a regular expression, found anywhere in a text; unknown where the value is no text.
* `Has`: an element of a list. A list that is missing has none, so this is never unknown.
* `Is`: `null` (missing or null) or `nan`; never unknown.

Metrics "NaN", "Infinity" and "-Infinity" are the numbers that JSON cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

SECTIONS = ("field", "config", "metrics")
# Fields that hold a time; what they are compared with has to be one.
TIMES = frozenset({"started", "timestamp"})
# Fields that hold text, whatever it looks like: `run_id < 10` compares text.
TEXTS = frozenset("experiment_id run_id status model dataset notes group host owner".split())


class WhereError(ValueError):
    """A query cannot be understood; the message shows where."""


class Key(NamedTuple):
    """One value of a result. `path`: the names on the way to it, below the document or below its section."""

    section: str
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def full_name(self) -> str:
        return self.name if self.section == "field" else f"{self.section}.{self.name}"


class Literal(NamedTuple):
    """A value of a query, and how it was written: of another type than str only where it stood without quotes.

    A datetime (always UTC) stands for times only.
    """

    value: str | int | float | bool | datetime
    text: str


@dataclass(frozen=True, slots=True)
class OneOf:
    key: Key
    literals: tuple[Literal, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    key: Key
    op: str  # < <= > >=
    literal: Literal


@dataclass(frozen=True, slots=True)
class Matches:
    key: Key
    pattern: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Has:
    key: Key
    literal: Literal
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Is:
    key: Key
    what: str  # null nan
    negated: bool = False


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds (`and`); without parts, always."""

    parts: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds (`or`)."""

    parts: tuple[Expression, ...]


Condition = OneOf | Order | Matches | Has | Is
Expression = Condition | And | Or
_OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def negated(expression: Expression) -> Expression:
    """Return what is true exactly where an expression is false."""
    match expression:
        case And(parts):
            return Or(tuple(map(negated, parts)))
        case Or(parts):
            return And(tuple(map(negated, parts)))
        case Order(key, op, literal):
            return Order(key, _OPPOSITE[op], literal)
        case OneOf(key, literals, was):
            return OneOf(key, literals, not was)
        case Matches(key, pattern, was):
            return Matches(key, pattern, not was)
        case Has(key, literal, was):
            return Has(key, literal, not was)
        case Is(key, what, was):
            return Is(key, what, not was)


def conditions_of(expression: Expression) -> list[Condition]:
    """Return the conditions that an expression is made of."""
    if isinstance(expression, And | Or):
        return [condition for part in expression.parts for condition in conditions_of(part)]
    return [expression]


def keys_of(expression: Expression) -> list[Key]:
    """Return the keys that an expression asks for."""
    return [condition.key for condition in conditions_of(expression)]


@dataclass(frozen=True, slots=True)
class Query:
    """Which results, in which order.

    With `first_of`, of those that agree in these keys only the first in the order. What is RUNNING on a lost host,
    unchanged since `lost_before_ns`, is LOST.
    """

    where: Expression = And()
    sort: Key | None = None
    desc: bool = False
    limit: int | None = None
    first_of: tuple[Key, ...] | None = None
    lost_hosts: tuple[str, ...] = ()
    lost_before_ns: int = 0
