"""JSON Lines: one document a line, appended to as runs end.

A bad line is refused by itself and the lines after it go on. An ordinal is the line's number, so that a line that is
mended later does not rename the rows after it. A last line without its line feed is taken once nobody writes any more,
but the cursor stays before it: when the file grows, that line is read again and takes the place of its row.
"""

from __future__ import annotations

from json import JSONDecodeError

from logferry_collector.formats.columns import Columns
from logferry_collector.formats.content import Content, Reading
from logferry_collector.formats.json import decode
from logferry_collector.records import Fault, Parsed, Reject


class JSONLines:
    suffixes = (".jsonl", ".ndjson")
    grows = True
    # A batch of parsed documents takes about ten times its bytes in memory.
    max_bytes = 8 << 20

    def missing(self, reading: Reading) -> str:  # noqa: ARG002 - nothing ever is
        return ""

    def parse(self, content: Content) -> Parsed:
        *whole, tail = content.data.split(b"\n")
        columns = content.reading.columns
        parsed = Parsed([], len(content.data) - len(tail), len(whole), rows=True)
        for number, line in enumerate(whole, content.lines + 1):
            _take(line, number, columns, parsed)
        if not tail.strip():
            return parsed
        return parsed.waiting_for(_last(tail, content.lines + len(whole) + 1, columns, parsed, end=content.end))


def _take(line: bytes, number: int, columns: Columns, into: Parsed) -> None:
    if not line.strip():
        return
    try:
        into.documents.append((number, columns.nested(decode(line))))
    except ValueError as error:
        into.rejects.append(Reject(number, Fault.INVALID, f"not JSON: {_why(error)}"))


def _why(error: ValueError) -> str:
    # Its own words count lines from the one that is bad.
    if not isinstance(error, JSONDecodeError):
        return str(error)
    return f"{error.msg.removesuffix(' at')} at column {error.colno}"


def _last(tail: bytes, number: int, columns: Columns, into: Parsed, *, end: bool) -> str:
    try:
        document = columns.nested(decode(tail))
    except ValueError as error:
        return f"last line: not JSON: {_why(error)}"
    if not end:
        return "last line: without its line feed"
    into.documents.append((number, document))
    return ""
