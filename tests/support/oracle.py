"""What a WHERE means, told in Python and in three values: True, False and None for unknown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

# A tree as tests make it: ("and" | "or", [trees]), ("not", tree), or (key, operator, value or values).
Tree = tuple[Any, ...]
_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_ORDER = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def holds(tree: Tree, document: dict[str, Any]) -> bool | None:
    """Say whether a tree is true of a document."""
    if tree[0] == "not":
        return _not(holds(tree[1], document))
    if tree[0] in {"and", "or"}:
        found = [holds(part, document) for part in tree[1]]
        decides = tree[0] == "or"
        return decides if decides in found else None if None in found else not decides
    key, operator, literal = tree
    value = _value(document, key)
    if key == "status" and operator in _ORDER:
        literal = literal if isinstance(literal, str) else written(literal)
    if operator.startswith("not "):
        return _not(_is(value, operator.removeprefix("not "), literal))
    if operator.startswith("is not "):
        return _not(_is(value, operator.replace(" not", ""), literal))
    if operator in {"!=", "!~"}:
        return _not(_is(value, {"!=": "=", "!~": "~"}[operator], literal))
    return _is(value, operator, literal)


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _value(document: dict[str, Any], key: str) -> Any:
    section, _, rest = key.partition(".")
    value: Any = document
    for name in key.split(".") if rest else [key]:
        value = value.get(name) if isinstance(value, dict) else None
    return _NUMBERS.get(value, value) if section == "metrics" and isinstance(value, str) else value


def _is(value: Any, operator: str, literal: Any) -> bool | None:
    if operator == "is null":
        return value is None
    if operator == "is nan":
        return value == "NaN" or (isinstance(value, float) and value != value)
    if operator == "has":
        return isinstance(value, list) and any(map(partial(_equal, literal), value))
    if value is None or (isinstance(value, float) and value != value):
        return None
    if operator == "~":
        return re.search(literal, value) is not None if isinstance(value, str) else None
    if operator == "in":
        return any(_equal(one, value) for one in literal)
    if operator == "=":
        return _equal(literal, value)
    if isinstance(literal, datetime):
        return _ORDER[operator](datetime.fromisoformat(value).astimezone(UTC), literal)
    same = isinstance(value, str) == isinstance(literal, str) and not isinstance(value, list | dict)
    return _ORDER[operator](value, literal) if same else None


def _equal(literal: Any, value: Any) -> bool:
    if isinstance(value, str):
        return value == (literal if isinstance(literal, str) else written(literal))
    return not isinstance(literal, str) and not isinstance(value, list | dict) and value == literal


def written(literal: Any) -> str:
    """Return a number or a boolean as a query has it."""
    return str(literal).lower() if isinstance(literal, bool) else repr(literal)


def text_of(tree: Tree) -> str:
    """Return a tree as a user would write it."""
    if tree[0] == "not":
        return f"not ({text_of(tree[1])})" if tree[1][0] in {"and", "or"} else f"not {text_of(tree[1])}"
    if tree[0] in {"and", "or"}:
        return f" {tree[0]} ".join(
            f"({text_of(part)})" if part[0] in {"and", "or"} else text_of(part) for part in tree[1]
        )
    key, operator, literal = tree
    if operator.startswith("is "):
        return f"{key} {operator}"
    if operator.endswith("in"):
        return f"{key} {operator} ({', '.join(map(_quoted, literal))})"
    return f"{key} {operator} {_quoted(literal)}"


def _quoted(literal: Any) -> str:
    if isinstance(literal, datetime):
        return literal.isoformat()
    if not isinstance(literal, str):
        return written(literal)
    return '"' + literal.replace("\\", "\\\\").replace('"', '\\"') + '"'
