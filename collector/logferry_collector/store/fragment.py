"""Pieces of SQL with the values that are bound in them, so that no two lists have to be kept in step.

    sql("? > ? AND r.host IN ?", column, 0.9, listed)

Each `?` takes the next part: a piece is put in its place, anything else becomes a bound parameter there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

# No statement can hold it, so it cannot be mistaken for anything; each database has its own mark.
PARAMETER = "\0"


class Sql(NamedTuple):
    text: str
    bound: tuple[Any, ...] = ()


def sql(template: str, *parts: Any) -> Sql:
    """Return a template with its parts in the places of its question marks."""
    first, *rest = template.split("?")
    texts, bound = [first], list[Any]()
    for part, following in zip(parts, rest, strict=True):
        piece = part if isinstance(part, Sql) else Sql(PARAMETER, (part,))
        texts += [piece.text, following]
        bound += piece.bound
    return Sql("".join(texts), tuple(bound))


def joined(separator: str, parts: Iterable[Any]) -> Sql:
    """Return parts one after the other."""
    parts = list(parts)
    return sql(separator.join("?" * len(parts)), *parts)
