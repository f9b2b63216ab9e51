"""Values of other programs as plain data that JSON can say, and what a text in a cell means.

A cell means the same whatever stands above or below it, so that rows that come later never change what earlier ones
are: whole numbers without leading zeros are integers; decimal numbers are floats where a float can hold them; `true`
and `false` are truth values; `nan` and `inf` stand for themselves; a JSON map or list is one, and so is one as Python
prints it, which pandas writes into CSV; nothing is no value. All else is text: `007`, `1_000`, `0,5`, `63%`, `None`.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:(\.[0-9]*)?([eE][-+]?[0-9]{1,4})?)|-?\.[0-9]+([eE][-+]?[0-9]{1,4})?")
# Python converts no longer ones, and nobody means them.
_MAX_DIGITS = 4000
_MAX_BITS = 13_000
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("nan", "NaN", "NAN"), "NaN"),
    **dict.fromkeys(("inf", "Inf", "Infinity"), "Infinity"),
    **dict.fromkeys(("-inf", "-Inf", "-Infinity"), "-Infinity"),
}
# As of JSON: what is nested deeper nobody means, and SQLite refuses it at 1000.
_MAX_DEPTH = 100


def literal(cell: str) -> Any:
    """Return what the text of a cell means, None for nothing."""
    if not cell:
        return None
    first = cell[0]
    if first in "-.0123456789":
        found = _NUMBER.fullmatch(cell)
        if found and len(cell) <= _MAX_DIGITS:
            if found.lastindex is None and first != ".":
                return int(cell) if cell != "-0" else -0.0
            number = float(cell)
            return number if math.isfinite(number) else cell
    elif first in "[{":
        return _container(cell)
    return _WORDS.get(cell, cell)


def _container(cell: str) -> Any:
    if cell[-1] not in "]}" or cell.count("{") + cell.count("[") > _MAX_DEPTH:
        return cell
    with suppress(ValueError):
        return json.loads(cell, parse_constant=str)
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python will refuse some day
            return _printed(ast.parse(cell, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return cell


def _printed(node: ast.expr | None, depth: int = _MAX_DEPTH) -> Any:
    """Return what Python printed in this form.

    Raises:
        ValueError: it is no plain data.

    """
    match node:
        case _ if depth == 0:
            raise ValueError
        case ast.Dict(keys, values):
            pairs = zip(keys, values, strict=True)
            return {str(_printed(key, 1)): _printed(item, depth - 1) for key, item in pairs}
        case ast.List(items) | ast.Tuple(items):
            return [_printed(item, depth - 1) for item in items]
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return plain(-value)
        case ast.UnaryOp(ast.USub(), ast.Name("inf")):
            return "-Infinity"
        case ast.Name(name) if name in {"nan", "inf"}:
            return _WORDS[name]
        case ast.Constant(None | str() | int() | float() as value):
            return plain(value)
        case _:
            raise ValueError


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return a value of a frame as plain data.

    Raises:
        ValueError: it is nested too deep, or a number of thousands of digits.

    """
    kind = type(value)
    if value is None or kind is str or kind is bool or kind is float:
        return value
    if kind is int:
        if value.bit_length() > _MAX_BITS:
            raise ValueError(f"a number is too long: more than {_MAX_DIGITS} digits")
        return value
    if depth == 0:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    if isinstance(value, AbstractSet):
        return sorted((plain(item, depth - 1) for item in value), key=repr)
    return _scalar(value, depth)


def _scalar(value: Any, depth: int) -> Any:
    if type(value).__name__ in {"NAType", "NaTType"}:  # pandas' missing values, which answer no question
        return None
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 10**18 else float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    for way in ("tolist", "to_list", "item"):  # arrays, series and scalars of numpy, pandas, polars
        if callable(way_out := getattr(value, way, None)):
            inner = way_out()
            if type(inner) is not type(value):
                return plain(inner, depth - 1)
    if isinstance(value, str | int | float):  # subclasses, enumerations
        return next(base(value) for base in (str, int, float) if isinstance(value, base))
    return str(value)


def rfc3339(value: datetime) -> str:
    """Return a time as text; one without a zone is taken for UTC."""
    utc = value.astimezone(UTC) if value.tzinfo else value
    text = datetime(*utc.timetuple()[:6], utc.microsecond, UTC).isoformat()  # noqa: DTZ001 - it has a zone
    return text.replace("+00:00", "Z")
