"""Values that a condition asks for and no result has, and what was meant by them: `status = COMPLETE`.

Unlike a key, a value may be new tomorrow, so this is no error: it is said beside an answer. That a status is misspelt
is said always, because `status != COMPLETE` answers as if all were well; of other keys only where nothing was found.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace

from logferry.results import STATUSES
from logferry_collector.silence import LOST
from logferry_collector.store import Store
from logferry_collector.where import And, Expression, Key, Literal, OneOf, Or, Query

_STATUS = Key("field", ("status",))
# Each value costs a look at all results.
_MAX_ASKED = 20


def doubts(store: Store, query: Query, *, nothing_found: bool) -> list[str]:
    """Return a sentence for each value of a query's condition that seems to be misspelt."""
    asked = [one for one in _texts(query.where) if nothing_found or one[0] == _STATUS][:_MAX_ASKED]
    return [said for key, literal in asked if (said := _doubt(store, query, key, literal))]


def _texts(expression: Expression) -> Iterator[tuple[Key, Literal]]:
    if isinstance(expression, And | Or):
        for part in expression.parts:
            yield from _texts(part)
    elif isinstance(expression, OneOf):
        yield from ((expression.key, literal) for literal in expression.literals if isinstance(literal.value, str))


def _doubt(store: Store, query: Query, key: Key, literal: Literal) -> str:
    known = set(STATUSES + (LOST,)) if key == _STATUS else set()
    everything = replace(query, where=And(), sort=None, limit=None, first_of=None)
    if literal.text in known or store.count(replace(everything, where=OneOf(key, (literal,)))):
        return ""
    known |= {value for (value,) in store.values(everything, [key]) if isinstance(value, str)}
    by_small_letters = {value.lower(): value for value in known}
    near = difflib.get_close_matches(literal.text.lower(), by_small_letters, n=1)
    return (
        f"no result has {key.full_name} = {literal.text!a}; did you mean {by_small_letters[near[0]]}?" if near else ""
    )
