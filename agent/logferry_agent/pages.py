"""Lines of running logs as they are shown, in pages: what a block of a file holds of them.

Lines of one host come in the order of its files. Where several hosts or runs are merged they are ordered by time, each
one's own order kept: each line counts as of the latest time up to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, compress, islice
from operator import itemgetter
from typing import NamedTuple

from logferry_agent import ordinary
from logferry_agent.logset import Files, RunLogs, host_blocks, host_files, say_unreadable
from logferry_agent.ordinary import Row
from logferry_agent.rotation import LogName
from logferry_agent.rows import RAW, TIME, rows_of, texts_of
from logferry_agent.scanner import Hits, from_time, holding
from logferry_agent.selection import Filter
from logferry_agent.shapes import Alike, Shapes

# What stands before and after each line of a run.
Frame = Callable[[RunLogs], tuple[str, str]]
_key = itemgetter(0)
# So many blocks are held of what is unpacked for its last lines, and only the last of them taken apart.
_AT_ONCE = 64


class Page(NamedTuple):
    """What is shown of a block. The times are left out where nothing is merged."""

    lines: list[str]
    times: Sequence[str] = ()  # for each line, the latest in the block up to it
    latest: str = ""  # in the block


_EMPTY = Page([])


class View:
    """Which lines of a block are shown, and how."""

    def __init__(self, chosen: Filter, frame: Frame, *, as_json: bool, hits: Hits | None = None) -> None:
        self._chosen, self._frame, self._as_json = chosen, frame, as_json
        # To know the shape pays for the text form only.
        self._has_text = chosen.grep is not None or not as_json
        self._shapes = Shapes()
        self._hits = from_time(hits or holding(chosen.needles), chosen.since)

    def page(self, run: RunLogs, block: bytes, *, timed: bool = False) -> Page:
        """Return what is shown of a block of whole lines."""
        found = self._hits(block)
        if not found:
            return _EMPTY
        alike = None if timed or self._chosen.by_time else self._shapes.alike(found)
        if alike:
            return Page(self._framed(run, self._of_alike(alike)))
        rows = rows_of(found, self._shapes.rows_of if self._has_text else ordinary.rows_of)
        kept = self._chosen.kept(rows)
        texts = texts_of(kept) if self._has_text else []
        if self._chosen.grep:
            matches = list(map(self._chosen.grep.search, texts))
            if None in matches:
                kept, texts = list(compress(kept, matches)), list(compress(texts, matches))
        lines = self._framed(run, list(map(itemgetter(RAW), kept)) if self._as_json else texts)
        return _timed(lines, rows, kept) if timed and rows else Page(lines)

    def _of_alike(self, alike: Alike) -> list[str]:
        chosen = self._chosen
        if not chosen.lets(alike.level, alike.event):
            return []
        if self._as_json and chosen.literal and alike.all_show(chosen.literal):
            return alike.raws()
        texts = alike.texts()
        lines = alike.raws() if self._as_json else texts
        if chosen.grep:
            matches = list(map(chosen.grep.search, texts))
            if None in matches:
                lines = list(compress(lines, matches))
        return lines

    def _framed(self, run: RunLogs, lines: list[str]) -> list[str]:
        before, after = self._frame(run)
        return [f"{before}{line}{after}" for line in lines] if before or after else lines


def _timed(lines: list[str], rows: list[Row], kept: list[Row]) -> Page:
    # What is not shown counts too, so that the same lines come in the same order whatever is left out.
    latest = list(accumulate(map(itemgetter(TIME), rows), max))
    by_row = dict(zip(map(id, rows), latest, strict=True))
    return Page(lines, [by_row[id(row)] for row in kept], latest[-1])


def read_runs(found: Iterable[RunLogs], view: View) -> Iterator[list[str]]:
    """Yield the lines of some runs, merged."""
    hosts = _hosts(found)
    return merged([pages(run, logs, view, timed=len(hosts) > 1) for run, logs in hosts])


def last_lines(hosts: Sequence[tuple[RunLogs, Files]], view: View, count: int) -> list[str]:
    """Return the last lines of some hosts' files, which are given from the last to the first, merged."""
    if not count:
        return []
    streams = [iter(_last_pages(run, files, view, count, timed=len(hosts) > 1)) for run, files in hosts]
    return [line for lines in merged(streams) for line in lines][-count:]


def backwards(found: Iterable[RunLogs]) -> list[tuple[RunLogs, Files]]:
    """Return what `last_lines` needs of some runs."""
    return [(run, host_files(run, logs, say_unreadable, newest_first=True)) for run, logs in _hosts(found)]


def _hosts(found: Iterable[RunLogs]) -> list[tuple[RunLogs, list[LogName]]]:
    return [(run, logs) for run in found for logs in run.files().values()]


def pages(run: RunLogs, logs: list[LogName], view: View, *, timed: bool = False) -> Iterator[Page]:
    """Yield what is shown of one host's files; what cannot be read is said."""
    for block in host_blocks(run, logs, say_unreadable):
        yield view.page(run, block, timed=timed)


def _last_pages(run: RunLogs, files: Files, view: View, least: int, *, timed: bool) -> list[Page]:
    """Return the last pages of one host's files, which have at least `least` lines, or all."""
    found: deque[Page] = deque()
    for log, content in files:
        if log.packed and least <= 0:
            break
        shown = partial(view.page, run, timed=timed)
        for page in _last(content, shown, least) if log.packed else map(shown, content):
            found.appendleft(page)
            # One more than is needed: where streams are merged, the order goes by the times before as well.
            if least <= 0:
                return list(found)
            least -= len(page.lines)
    return list(found)


def _last(content: Iterator[bytes], shown: Callable[[bytes], Page], least: int) -> list[Page]:
    """Return the same of what can be read forwards only, from the last page to the first."""
    found: list[Page] = []
    while blocks := list(islice(content, _AT_ONCE)):
        found = list(_enough(chain(map(shown, reversed(blocks)), found), least))
    return found


def _enough(pages: Iterable[Page], least: int) -> Iterator[Page]:
    for page in pages:
        yield page
        if least <= 0:
            return
        least -= len(page.lines)


def merged(streams: Sequence[Iterator[Page]]) -> Iterator[list[str]]:
    """Merge the lines of streams by the latest time of each one so far; several of them need the times."""
    if len(streams) == 1:
        yield from (page.lines for page in streams[0])
        return
    ahead = [one for number, stream in enumerate(streams) if (one := _Ahead(stream, number)).reads_on()]
    while ahead:
        # No line that comes later in any of the streams is to stand before the last one of these.
        least = min(ahead, key=lambda one: (one.lines[-1][0], one.number))
        latest = least.lines[-1][0]
        found: list[tuple[str, str]] = []
        for one in ahead:
            found += one.taken(latest, with_latest=one.number <= least.number)
        found.sort(key=_key)
        yield [line for _, line in found]
        ahead = [one for one in ahead if one.lines or one.reads_on()]


class _Ahead:
    """What was read of a stream and not yet taken: lines with the latest time up to each."""

    def __init__(self, stream: Iterator[Page], number: int) -> None:
        self._stream, self.number = stream, number
        self._latest = ""
        self.lines: list[tuple[str, str]] = []

    def reads_on(self) -> bool:
        """Read the next page with lines; return whether there is one."""
        for page in self._stream:
            before = self._latest
            self.lines = [(max(before, time), line) for time, line in zip(page.times, page.lines, strict=True)]
            self._latest = max(before, page.latest)
            if self.lines:
                return True
        return False

    def taken(self, latest: str, *, with_latest: bool) -> list[tuple[str, str]]:
        """Take the lines up to a time."""
        end = (bisect_right if with_latest else bisect_left)(self.lines, latest, key=_key)
        found, self.lines = self.lines[:end], self.lines[end:]
        return found
