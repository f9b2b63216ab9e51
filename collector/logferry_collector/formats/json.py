"""One JSON document per file, as the SDK writes it; a list of them, a table of pandas, the state of a trainer."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from logferry.results import MAX_DOCUMENT_BYTES
from logferry_collector.floats import has_float_beyond
from logferry_collector.formats.content import MAX_CELLS, BeyondError, Content, Reading, refused, unparsed, whole
from logferry_collector.formats.oriented import rows_of
from logferry_collector.formats.trainer import ended
from logferry_collector.records import Parsed

# SQLite refuses JSON that is nested deeper than 1000; nobody means more than this.
MAX_DEPTH = 100
_LONG = 1 << 63
# Python writes NaN bare; the string is how a result document says it (see logferry.results).
_DECODER = json.JSONDecoder(parse_constant=str)


class JSON:
    suffixes = (".json",)
    grows = False
    max_bytes = MAX_DOCUMENT_BYTES

    def missing(self, reading: Reading) -> str:  # noqa: ARG002 - nothing ever is
        return ""

    def parse(self, content: Content) -> Parsed:
        data = content.data
        if sum(map(data.count, b",[{")) > MAX_CELLS:  # each may begin a value of sixty bytes and more
            return refused(data, f"more than {MAX_CELLS} values; as JSON lines they can be read in parts")
        try:
            value = decode(data)
        except BeyondError as error:
            return refused(data, str(error))
        except ValueError as error:
            return unparsed(data, f"not JSON: {error}")
        return whole(data, rows_of(ended(value)), content.reading)


def decode(data: bytes) -> Any:
    """Return the value that `data` holds.

    By the fast parser first; it turns integers beyond 64 bits (numpy's seeds) into floats, and refuses the NaN that
    Python itself writes. There, and wherever anything is wrong, what the standard library's says counts.

    Raises:
        BeyondError: it is nested too deep, or a number is too long.
        ValueError: it is not JSON, or not UTF-8.

    """
    try:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            value = math.inf
        if has_float_beyond(_LONG, value):
            value = _DECODER.decode(data.decode("utf-8-sig"))
    except RecursionError:
        raise BeyondError(f"nested deeper than {MAX_DEPTH}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # Python's own bound, because converting digits takes the square of their number
        raise BeyondError(f"a number is too long: {error}") from error
    # Counting brackets is a bound on the depth, and spares walking almost every document.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise BeyondError(f"nested deeper than {MAX_DEPTH}")
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth - 1
