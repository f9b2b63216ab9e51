"""Formats of result files: one module each, found by the name's ending.

A format turns bytes into documents and knows nothing of files, cursors or the store. One that `grows` is read from
where it was left; the others are read whole whenever they change.
"""

from __future__ import annotations

from typing import Protocol

from logferry_collector.formats.json import JSON
from logferry_collector.formats.jsonl import JSONLines
from logferry_collector.records import Parsed


class Format(Protocol):
    """How one kind of file is read."""

    @property
    def suffixes(self) -> tuple[str, ...]: ...
    @property
    def grows(self) -> bool: ...
    @property
    def max_bytes(self) -> int:
        """The most that is read at once: a whole file, or for one that grows, its longest line."""

    def parse(self, data: bytes, lines: int, *, end: bool) -> Parsed:
        """Turn `data` into documents.

        Args:
            data: the whole file, or for a format that grows, what lies behind the cursor.
            lines: how many lines lie before `data`.
            end: nothing was written for the settle time and `data` reaches to the end of the file: a last line
                without its line feed is whole if it parses.

        """


FORMATS: tuple[Format, ...] = (JSON(), JSONLines())


def format_of(name: str) -> Format | None:
    """Return the format of a file by its name, or None for a file that is no result."""
    return next((known for known in FORMATS if name.endswith(known.suffixes)), None)
