"""The text form of a line: `2025-07-30 13:00:05 [INFO] ConfigLoaded: learning_rate=0.001, epochs=20`, UTC.

Grammar::

    line    = time " [" level "] " name [": " item *(", " item)]
    item    = message | key "=" value          the message comes first; a line without items is the name alone
    message = bare | JSON string               bare only if it is the sole item, has no control character and no `=`,
                                               does not begin with a quote and is not empty
    value   = JSON number | true | false | null | JSON container | JSON string | bare
    name, key = bare | JSON string             quoted if it has a blank, colon, `=`, comma, quote or control character

A bare value has no control character, quote, comma, `=` or outer blank, does not begin with `[` or `{`, is not empty
and does not read as a JSON number, true, false or null. Control characters are those that can act on a terminal,
break a line or turn the reading direction (`layout.is_control`); in JSON strings they are escaped.

Whatever was logged, an event is one line, and a parser gets the same name, message and fields back. `seq` is left out.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from logferry.layout import is_control

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = frozenset({"true", "false", "null"})
# Characters for which a value, a name or a key is quoted; controls are looked for apart.
_IN_VALUE = re.compile('[",=]')
_IN_NAME = re.compile(r'[\s":=,]')


def text_line(line: dict[str, Any]) -> str:
    """Return the text form, without a line feed, of a line of the running log."""
    fields = {key: value for key, value in line.items() if key not in {"time", "level", "event", "message", "seq"}}
    when = f"{line['time'][:10]} {line['time'][11:19]}"
    start = f"{when} [{line['level']}] {_name(line['event'])}"
    items = [f"{_name(key)}={_value(value)}" for key, value in fields.items()]
    message = line.get("message")
    if message is not None:
        items.insert(0, _quoted(message) if items or not _stands_bare(message) else message)
    return f"{start}: {', '.join(items)}" if items else start


def _stands_bare(message: str) -> bool:
    return bool(message) and message[0] != '"' and "=" not in message and not _has_control(message)


def _value(value: Any) -> str:
    if not isinstance(value, str):
        try:
            return _escaped(orjson.dumps(value).decode())
        except TypeError:  # a line that the agent did not write
            return '"nested too deep"'
    quoted = (
        not value
        or value != value.strip()
        or value[0] in "[{"
        or value in _WORDS
        or _IN_VALUE.search(value)
        or _NUMBER.fullmatch(value)
        or _has_control(value)
    )
    return _quoted(value) if quoted else value


def _name(name: str) -> str:
    return _quoted(name) if not name or _IN_NAME.search(name) or _has_control(name) else name


def _quoted(text: str) -> str:
    return _escaped(orjson.dumps(text).decode())


def _has_control(text: str) -> bool:
    return not text.isprintable() and any(is_control(char) for char in text)


def _escaped(json_text: str) -> str:
    """Escape the control characters that JSON allows in strings; outside of strings there are none."""
    if json_text.isprintable():
        return json_text
    return "".join(f"\\u{ord(char):04x}" if is_control(char) else char for char in json_text)
