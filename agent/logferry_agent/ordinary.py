"""The text form of lines as most are, a block of them at a time, without parsing them.

Ordinary is a line as the agent writes it, in ASCII without escapes, whose fields are numbers, words of JSON and strings
that need no quotes (see text.py for the grammar, and for all other lines). Where the agent did not write a line, what
parsing would lose is shown as it stands: digits that a float does not need, a field that comes twice.
"""

from __future__ import annotations

import re

# A line, its time, level, event, and its message and its fields as they stand. All but the first are empty where the
# line is not ordinary.
Row = tuple[str, str, str, str, str, str]

# Quantifiers are possessive: nothing that is left out can be matched in another way, and no way back is remembered.
_NAME = r"[!#-+\--9;<>-\[\]-~]++"
# As orjson writes it: with an exponent only what is very small or large.
_EXPONENT = r"-(?:[6-9]|[1-9][0-9]|[12][0-9][0-9])|\+(?:1[6-9]|[2-9][0-9]|[12][0-9][0-9])"
_WORD = "true|false|null"
NUMBER = (  # or a word
    r"(?:(?!-0[,}])-?+(?:(?:0(?!\.00000)|[1-9][0-9]{0,17}+)(?:\.[0-9]{1,21}+(?<![0-9]0))?+(?![.e])"
    rf"|[1-9](?:\.[0-9]{{1,16}}+(?<!0))?+e(?:{_EXPONENT})(?![0-9]))|{_WORD})"
)
# What a bare string begins with: a character of no number, or some of a number and then one that no number has. Strings
# with a colon in front are left out, so that a quote before a colon ends a name.
_START = r"(?:[!#-+./;<>-Z^-z|}~]|[-0-9][-0-9.]*+[ !#-*/:-<>-DF-Z^-df-z|}~])"
STRING = rf"(?!(?:{_WORD})\"){_START}[ !#-+\--<>-\[\]-~]*+(?<! )"
MESSAGE = r"[ !#-\[\]-~]++"
SEQ = r',"seq":"[!#-\[\]-~]++"'
_LINES = re.compile(
    r'(\{"time":"([0-9-]{10}+T[0-9:]{8}+\.[0-9]{6}+Z)","level":"(DEBUG|INFO|WARNING|ERROR|CRITICAL)",'
    rf'"event":"({_NAME})"(?:,"message":"({MESSAGE})")?+'
    rf'((?:,"(?!(?:time|level|event|message|seq)"){_NAME}":(?:"{STRING}"|{NUMBER}))*+)'
    rf"{SEQ}\}}|[^\n]*+)\n"
)
# Stands for a quote that stays, while all others go; no ordinary line has it.
_QUOTE = "\x01"


def rows_of(block: str) -> list[Row]:
    """Return the lines of a block of whole lines."""
    return _LINES.findall(block)


def texts_of(rows: list[Row]) -> list[str]:
    """Return the text forms of ordinary lines."""
    # What stands between the fields is replaced in all lines at once: that takes a third of the time.
    text = "\n".join(
        [
            f"{time[:10]} {time[11:19]} [{level}] {event}: {fields[2:]}"
            if fields and not message
            else _with_message(f"{time[:10]} {time[11:19]} [{level}] {event}", message, fields)
            for _, time, level, event, message, fields in rows
        ]
    )
    text = text.replace(',"', ", ").replace('":', "=").replace('"', "").replace(_QUOTE, '"')
    return text.split("\n") if rows else []


def _with_message(start: str, message: str, fields: str) -> str:
    if fields:
        return f"{start}: {_QUOTE}{message}{_QUOTE}{fields}"
    if not message:
        return start
    return f"{start}: {_QUOTE}{message}{_QUOTE}" if "=" in message else f"{start}: {message}"
