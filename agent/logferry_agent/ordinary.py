"""The text form of lines as most are, made without parsing them, which takes a quarter of the time.

Ordinary is a line as the agent writes it, in ASCII without escapes, whose fields are numbers, words of JSON and strings
that need no quotes (see text.py for the grammar, and for all other lines). Where the agent did not write a line, what
parsing would lose is shown as it stands: digits that a float does not need, a field that comes twice.
"""

from __future__ import annotations

import re

# Quantifiers are possessive: nothing that is left out can be matched in another way, and no way back is remembered.
_NAME = r"[!#-+\--9;<>-\[\]-~]++"
# As orjson writes it, but for those that have an exponent, or may have one.
_NUMBER = r"(?!-0[,}])-?+(?:0|[1-9][0-9]{0,17}+)(?:\.(?!00000)[0-9]{1,17}+(?<![0-9]0))?+"
_WORD = "true|false|null"
# What a bare string begins with: a character of no number, or some of a number and then one that no number has. Strings
# with a colon in front are left out, so that a quote before a colon ends a name.
_START = r"(?:[!#-+./;<>-Z^-z|}~]|[-0-9][-0-9.]*+[ !#-*/:-<>-DF-Z^-df-z|}~])"
_STRING = rf"(?!(?:{_WORD})\"){_START}[ !#-+\--<>-\[\]-~]*+(?<! )"
_LINE = re.compile(
    r'\{"time":"([0-9-]{10}+T[0-9:]{8}+\.[0-9]{6}+Z)","level":"(DEBUG|INFO|WARNING|ERROR|CRITICAL)",'
    rf'"event":"({_NAME})"(?:,"message":"([ !#-\[\]-~]++)")?+'
    rf'((?:,"(?!(?:time|level|event|message|seq)"){_NAME}":(?:"{_STRING}"|{_NUMBER}|{_WORD}))*+)'
    r',"seq":"[!#-\[\]-~]++"\}'
)

ordinary = _LINE.fullmatch


def text_of(line: re.Match[str]) -> str:
    """Return the text form of an ordinary line."""
    time, level, event, message, fields = line.groups()
    start = f"{time[:10]} {time[11:19]} [{level}] {event}"
    items = fields[2:].replace(',"', ", ").replace('":', "=").replace('"', "")
    if message is None:
        return f"{start}: {items}" if items else start
    if items:
        return f'{start}: "{message}", {items}'
    return f'{start}: "{message}"' if "=" in message else f"{start}: {message}"
