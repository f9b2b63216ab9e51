"""What every format does: bytes in, documents out.

A format knows nothing of files, cursors or the store. One that `grows` is read from where it was left; the others are
read whole whenever they change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from logferry.results import MAX_DOCUMENT_BYTES
from logferry_collector.formats.columns import Columns
from logferry_collector.records import Fault, Parsed, Reject

# Documents of one file are in memory together, at about ten times their bytes: the most that is unpacked or decoded.
MAX_UNPACKED = MAX_DOCUMENT_BYTES
# Rows times columns of one table that is read whole; as documents they take a few hundred bytes each.
MAX_CELLS = 5_000_000
# And its rows, each of which takes a kilobyte until it is in the store.
MAX_ROWS = 500_000
# Read again with every row that is appended: twenty thousand names fit, each of fifty signs.
HEAD_BYTES = 1 << 20
_OTHERS = (
    *(
        (magic, f"is packed, and its name does not say so: end it in {codec}")
        for magic, codec in (
            (b"\x1f\x8b", ".gz"),
            (b"BZh", ".bz2"),
            (b"\xfd7zXZ", ".xz"),
            (b"\x28\xb5\x2f\xfd", ".zst"),
        )
    ),
    *(
        (b"x" + level, "is packed by zlib, as joblib does: write it without compress")
        for level in (b"\x01", b"^", b"\x9c", b"\xda")
    ),
    *((mark, "is UTF-16; save it as UTF-8") for mark in (b"\xff\xfe", b"\xfe\xff")),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the configuration says of reading."""

    columns: Columns = field(default_factory=Columns)
    pickle: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What there is to read.

    Args:
        data: the whole file, or for a format that grows, what lies behind the cursor.
        lines: how many lines lie before `data`.
        end: nothing was written for the settle time and `data` reaches to the end of the file: a last line without its
            line feed is whole if it parses.
        head: the first `HEAD_BYTES` of the file, for a format whose first line says what the others mean.
        reading: what the configuration says.

    """

    data: bytes
    lines: int = 0
    end: bool = True
    head: bytes = b""
    reading: Reading = field(default_factory=Reading)


class Format(Protocol):
    """How one kind of file is read."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The endings of its files' names, in small letters."""

    @property
    def grows(self) -> bool: ...
    @property
    def max_bytes(self) -> int:
        """The most that is read at once: a whole file, or for one that grows, its longest line."""

    def missing(self, reading: Reading) -> str:
        """Return what is missing to read such files here, a package or a permission, or the empty string."""

    def parse(self, content: Content) -> Parsed:
        """Turn bytes into documents; whatever the bytes are, this does not raise."""


class BeyondError(ValueError):
    """Data is whole, and beyond what a store keeps: nested too deep, too large, or a number of thousands of digits."""


def refused(data: bytes, reason: str, fault: Fault = Fault.INVALID) -> Parsed:
    """Return that a whole file is done with, and no result."""
    return Parsed([], len(data), 0, [Reject(0, fault, reason)])


def unfinished(data: bytes, reason: str) -> Parsed:
    """Return that a whole file does not parse, and may be half written."""
    return Parsed([], 0, 0, unfinished=reason if data.strip() else "the file is empty")


def unparsed(data: bytes, reason: str) -> Parsed:
    """Return that a whole file does not parse: it is something else by its first bytes, or may be half written."""
    other = next((what for magic, what in _OTHERS if data.startswith(magic)), "")
    return refused(data, other) if other else unfinished(data, reason)


def whole(data: bytes, value: Any, reading: Reading) -> Parsed:
    """Return what a file that is read whole holds: one document, or a list of them, each refused by itself."""
    several = isinstance(value, list)
    if several and len(value) > MAX_ROWS:
        return refused(data, f"{len(value)} rows; at most {MAX_ROWS} are read, of files of lines any number")
    parsed = Parsed([], len(data), 0, rows=several)
    for number, one in enumerate(value if several else [value], 1):
        try:
            parsed.documents.append((number, reading.columns.nested(one)))
        except ValueError as error:
            parsed.rejects.append(Reject(number if several else 0, Fault.INVALID, str(error)))
    return parsed
