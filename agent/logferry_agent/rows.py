"""Lines of running logs taken apart, a block of them at a time, and what is a line at all.

Lines as most are need no parsing (see ordinary.py and shapes.py); the others are read as JSON, and shown the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import orjson

from logferry.events import LEVEL_NAMES
from logferry_agent import ordinary
from logferry_agent.ordinary import Row
from logferry_agent.shapes import SHOWN
from logferry_agent.text import text_line

RAW, TIME, LEVEL, EVENT, _MESSAGE, _FIELDS = range(6)
# Stands for the message of a line that is not ordinary; no message of an ordinary one has control characters.
_UNUSUAL = "\r"
_LEVELS = frozenset(LEVEL_NAMES.values())
_time = itemgetter(TIME)
_message = itemgetter(_MESSAGE)
_fields = itemgetter(_FIELDS)


def rows_of(block: bytes, take: Callable[[str], list[Row]] = ordinary.rows_of) -> list[Row]:
    """Take whole lines apart; what is no line of a running log is left out here, `verify` names it.

    Args:
        block: the lines.
        take: takes ordinary lines apart.

    """
    # What is no UTF-8 becomes what is no JSON.
    rows = take(block.decode(errors="surrogateescape"))
    if all(map(_time, rows)):
        return rows
    return [row for found in rows if (row := found if found[TIME] else _parsed(found[RAW]))]


def texts_of(rows: list[Row]) -> list[str]:
    """Return the text forms of lines."""
    if all(message == SHOWN for message in map(_message, rows)):
        return list(map(_fields, rows))
    texts = iter(ordinary.texts_of([row for row in rows if row[_MESSAGE] not in {SHOWN, _UNUSUAL}]))
    return [_text(row) or next(texts) for row in rows]


def _text(row: Row) -> str:
    if row[_MESSAGE] == SHOWN:
        return row[_FIELDS]
    return text_line(orjson.loads(row[RAW])) if row[_MESSAGE] == _UNUSUAL else ""


def _parsed(raw: str) -> Row | None:
    try:
        data = orjson.loads(raw)
        if _is_line(**data):
            return raw, data["time"], data["level"], data["event"], _UNUSUAL, ""
    except (ValueError, TypeError):  # not JSON, not an object, or without what every line has
        pass
    return None


def _is_line(*, time: Any, level: Any, event: Any, message: Any = "", **_: Any) -> bool:
    printable_time = isinstance(time, str) and time.isascii() and time.isprintable()
    return printable_time and level in _LEVELS and isinstance(event, str) and isinstance(message, str)
