"""Reads a line of the text form back, by the grammar in `logferry_agent.text`."""

from __future__ import annotations

import json
import re
from typing import Any

_HEAD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \[([A-Z]+)\] ")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_JSON = json.JSONDecoder()


def parse_text_line(line: str) -> dict[str, Any]:
    """Return time, level, event, message (if any) and fields of a line."""
    head = _HEAD.match(line)
    assert head, line
    name, rest = _name(line[head.end() :], ":")
    parsed: dict[str, Any] = {"time": head[1], "level": head[2], "event": name}
    if not rest:
        return parsed
    assert rest.startswith(": "), rest
    rest = rest[2:]
    if not rest.startswith('"') and "=" not in rest:
        return {**parsed, "message": rest}
    fields: dict[str, Any] = {}
    while rest:
        key, rest = _name(rest, "=")
        if rest.startswith("="):
            fields[key], rest = _value(rest[1:])
        else:  # a JSON string that is no key
            parsed["message"] = key
        assert not rest or rest.startswith(", "), rest
        rest = rest[2:]
    return {**parsed, **fields}


def _name(text: str, end: str) -> tuple[str, str]:
    if text.startswith('"'):
        value, stop = _JSON.raw_decode(text)
        return value, text[stop:]
    stop = text.find(end)
    return (text, "") if stop < 0 else (text[:stop], text[stop:])


def _value(text: str) -> tuple[Any, str]:
    if text[:1] in {'"', "[", "{"}:
        value, stop = _JSON.raw_decode(text)
        return value, text[stop:]
    bare, comma, rest = text.partition(",")
    if bare in {"true", "false", "null"} or _NUMBER.fullmatch(bare):
        return json.loads(bare), comma + rest
    return bare, comma + rest
