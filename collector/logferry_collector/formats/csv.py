"""CSV and TSV: a header, then a result a row, appended to as runs end.

* The delimiter (comma, semicolon, tab, bar) is the one that gives the header most columns. Before the header there may
  be blank lines and comments (`#`), which may stand between rows too; it may come again where several programs append.
  A first line with numbers in it is no header.
* What a cell means is said by the cell alone (values.py), so rows that come later never change earlier ones.
* An ordinal is the number of the line on which a row begins; a quoted cell may hold line feeds. A row is refused by
  itself. A quote that is never closed runs to the end, or until a cell is longer than the csv module takes (128 KiB):
  those lines are refused together.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from logferry_collector.formats.columns import Plan
from logferry_collector.formats.content import HEAD_BYTES, Content, Reading
from logferry_collector.formats.values import literal
from logferry_collector.records import Fault, Parsed, Reject

_DELIMITERS = ",;\t|"
_MAX_COLUMNS = 20_000


class CSV:
    suffixes = (".csv", ".tsv")
    grows = True
    max_bytes = 8 << 20

    def missing(self, reading: Reading) -> str:  # noqa: ARG002 - nothing ever is
        return ""

    def parse(self, content: Content) -> Parsed:
        lines = content.data.split(b"\n")
        try:
            header = _header(content)
        except ValueError as error:
            whole = len(lines) - 1
            return Parsed(
                [], len(content.data) - len(lines[-1]), whole, [Reject(0, Fault.INVALID, str(error))], rows=True
            )
        if header is None:
            return Parsed([], 0, 0, rows=True).waiting_for("no whole header line" if content.data.strip() else "")
        feed = _Feed(lines, max(0, header.lines - content.lines))
        plan = content.reading.columns.plan(header.names, text=True)
        return _rows(feed, header, plan, content)


@dataclass(slots=True)
class _Header:
    names: list[str]
    cells: list[str]
    delimiter: str
    lines: int  # up to and with it


@dataclass(slots=True)
class _Feed(Iterator[str]):
    """Lines as text, with their number; after an error one may go on."""

    raw: list[bytes]
    at: int = 0

    def __next__(self) -> str:
        if self.at >= len(self.raw):
            raise StopIteration
        line = self.raw[self.at]
        self.at += 1
        last = self.at == len(self.raw)
        if last and not line:
            raise StopIteration
        return line.decode() if last else line.decode() + "\n"


def _header(content: Content) -> _Header | None:
    """Return the header, None where it is not whole yet.

    Raises:
        ValueError: the first line is no header.

    """
    head = content.head or content.data[:HEAD_BYTES]
    raw = head.split(b"\n")
    at = 0
    while at < len(raw) - 1 and (not raw[at].strip() or raw[at].startswith(b"#")):
        at += 1
    if raw[at].startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("is UTF-16; save it as UTF-8")
    if at == len(raw) - 1 and len(head) == HEAD_BYTES:
        raise ValueError(f"no header in the first {HEAD_BYTES} bytes")
    if at == len(raw) - 1:
        return None
    found: _Header | None = None
    for delimiter in _DELIMITERS:
        feed = _Feed(raw[:-1] + [b""], at)
        try:
            cells = next(csv.reader(feed, delimiter=delimiter, strict=True))
        except UnicodeDecodeError as error:
            raise ValueError(f"the header is not UTF-8: {error.reason}") from error
        except (csv.Error, StopIteration):
            continue
        if found is None or len(cells) > len(found.cells):
            found = _Header([], cells, delimiter, feed.at)
    if found is None:
        raise ValueError("the header cannot be read: a quote is not closed")
    found.cells[0] = found.cells[0].removeprefix("\ufeff").strip('"')
    found.names = _named(found.cells)
    return found


def _named(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    # An index without a name, as pandas and R write it.
    names = ["index" if number == 0 and not name else name for number, name in enumerate(names)]
    if len(names) > _MAX_COLUMNS:
        raise ValueError(f"{len(names)} columns; at most {_MAX_COLUMNS} are read")
    for number, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"column {number} has no name")
        value = literal(name)
        if type(value) in {int, float}:
            raise ValueError(f"no header: the first line holds the value {name[:40]!a}; name the columns in it")
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(f"two columns are named {twice[:80]!a}")
    return names


def _rows(feed: _Feed, header: _Header, plan: Plan, content: Content) -> Parsed:
    parsed = Parsed([], 0, 0, rows=True)
    reader = csv.reader(feed, delimiter=header.delimiter, strict=True)
    taken = feed.at  # lines that are done with
    waits = ""
    while True:
        begins = feed.at
        number = content.lines + begins + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except UnicodeDecodeError:
            cells, problem = [], "not UTF-8"
        except csv.Error as error:
            cells, problem = [], str(error)
        else:
            problem = _problem(cells, header)
        if problem and feed.raw[begins].startswith(b"#"):  # a row may begin so too, if it has all cells
            cells, problem = [], ""
        last = feed.at >= len(feed.raw) - (not feed.raw[-1])
        torn = last and (feed.raw[-1] != b"" or "unexpected end" in problem)
        if torn:
            waits = _last(cells, number, problem, plan, content, parsed)
            break
        taken = feed.at
        if problem:
            behind = content.lines + feed.at
            more = f" (with the lines up to {behind})" if behind > number else ""
            parsed.rejects.append(Reject(number, Fault.INVALID, problem + more))
        elif cells and cells != header.cells:
            _take(cells, number, plan, parsed)
    taken = min(taken, len(feed.raw) - 1)
    size = sum(map(len, feed.raw[:taken])) + taken
    return Parsed(parsed.documents, size, taken, parsed.rejects, waits, rows=True)


def _problem(cells: list[str], header: _Header) -> str:
    if not cells or len(cells) == len(header.names):
        return ""
    return f"{len(cells)} cells, and the header has {len(header.names)}"


def _take(cells: list[str], number: int, plan: Plan, into: Parsed) -> None:
    try:
        into.documents.append((number, plan.document(cells)))
    except (ValueError, RecursionError) as error:
        into.rejects.append(Reject(number, Fault.INVALID, str(error)))


def _last(cells: list[str], number: int, problem: str, plan: Plan, content: Content, into: Parsed) -> str:
    """Take a last row without its line feed once nobody writes any more; return why it waits."""
    if problem:
        return f"last row: {'a quote is not closed' if 'unexpected end' in problem else problem}"
    if not cells:
        return ""
    if not content.end:
        return "last row: without its line feed"
    _take(cells, number, plan, into)
    return ""
