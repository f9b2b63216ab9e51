"""JSON and text as stores keep them.

The document is kept as it was read, to the last sign. What is searched is kept apart, as config and metrics: there, NUL
and lone surrogates, which databases refuse or mangle, are U+FFFD.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple
from uuid import uuid4

import orjson

from logferry.results import finite
from logferry_collector.floats import has_float_beyond

# The fast one knows types that JSON does not; the other one says what is wrong with them.
_AS_JSON = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
# Stands for a map whose text is at hand; no document can know it.
_PLACE = uuid4().hex
_ESCAPES = re.compile(r"\\(?:u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_UNKEPT = re.compile("[\0\ud800-\udfff]")


class Texts(NamedTuple):
    document: str
    fields: str  # the document with null for config and metrics
    config: str
    metrics: str


def texts(document: dict[str, Any]) -> Texts:
    """Return a document as JSON, and its parts to search in; each map is turned into text once."""
    maps = {name: document[name] for name in ("config", "metrics") if document.get(name)}
    fields = whole = dumped({**document, **{name: _PLACE + name for name in maps}})
    parts = {name: dumped(value) for name, value in maps.items()}
    for name, part in parts.items():
        place = f'"{_PLACE}{name}"'
        fields, whole = fields.replace(place, "null", 1), whole.replace(place, part, 1)
    return Texts(whole, *map(searchable, (fields, parts.get("config", "{}"), parts.get("metrics", "{}"))))


def dumped(value: Any) -> str:
    """Return compact JSON that any store can keep: a lone surrogate stays the escape that it was."""
    with suppress(orjson.JSONEncodeError):  # what it refuses: longer integers, lone surrogates
        text = orjson.dumps(value, option=_AS_JSON).decode()
        if "null" not in text or not has_float_beyond(inf, value):  # it writes null for infinities too
            return text
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # a number beyond the range of floats was read as infinite
        text = _ENCODER.encode(finite(value))
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def searchable(text: str) -> str:
    """Return JSON without what some database cannot search."""
    if "\\u" not in text:
        return text
    return _ESCAPES.sub(lambda match: "\ufffd" if match[0][1] == "u" else match[0], text)


def known(value: Any) -> str | None:
    """Return a text of a document as it is searched; anything else is None."""
    return sought(value) if isinstance(value, str) else None


def sought(text: str) -> str:
    return _UNKEPT.sub("\ufffd", text)


def storable(text: str) -> str:
    """Return a text that any store can keep, with escapes for what it could not."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
