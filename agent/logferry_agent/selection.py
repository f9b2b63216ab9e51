"""Which lines of running logs somebody wants to see."""

from __future__ import annotations

import argparse
import fnmatch
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import itemgetter

from logferry.cli import Parser
from logferry.events import INFO, LEVEL_NAMES, SYSTEM_PREFIX, level_number
from logferry_agent.needles import Needles, in_text_form
from logferry_agent.ordinary import Row
from logferry_agent.rows import EVENT, LEVEL, TIME

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Filter:
    """What the options let through; `needles` are what such a line holds, `since` the least time that it has."""

    def __init__(self, options: argparse.Namespace, now: datetime) -> None:
        least = level_number(options.level) if options.level else 0
        self._levels = frozenset(name for number, name in LEVEL_NAMES.items() if number >= least)
        pattern = fnmatch.translate(options.event or "*")
        self._is_event = re.compile(pattern).match
        self._hidden = () if options.all else SYSTEM_PREFIX
        self.grep = pattern_of(options.grep, "--grep") if options.grep else None
        # What is found wherever it stands in a text form.
        self.literal = options.grep if options.grep and re.escape(options.grep) == options.grep else ""
        self.since = moment(options.since, now, "--since") if options.since else ""
        self._until = moment(options.until, now, "--until") if options.until else ""
        self.by_time = bool(self.since or self._until)
        self.needles = in_text_form(options.grep or "") + in_text_form(pattern)
        if least > INFO:  # the others are on most lines
            self.needles += Needles([[f'"{name}"'.encode() for name in sorted(self._levels)]])

    def kept(self, rows: list[Row]) -> list[Row]:
        """Return the lines that are let through, but for `grep`, which is looked for in their text form."""
        rows = _only(rows, LEVEL, self._levels.__contains__)
        rows = _only(rows, EVENT, self._lets_event)
        if self.since:
            rows = [row for row in rows if row[TIME] >= self.since]
        if self._until:
            rows = [row for row in rows if row[TIME] < self._until]
        return rows

    def lets(self, level: str, event: str) -> bool:
        return level in self._levels and self._lets_event(event)

    def _lets_event(self, event: str) -> bool:
        return not event.startswith(self._hidden) and self._is_event(event) is not None


def _only(rows: list[Row], column: int, lets: Callable[[str], bool]) -> list[Row]:
    """Return the rows with what is let through in a column; a block has few different names."""
    refused = {value for value in set(map(itemgetter(column), rows)) if not lets(value)}
    return [row for row in rows if row[column] not in refused] if refused else rows


def pattern_of(text: str, option: str) -> re.Pattern[str]:
    """Compile a regular expression.

    Raises:
        ValueError: it is none; names the option.

    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what may mean something else in a later Python
            return re.compile(text, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{option} {text!a} is no regular expression: {error}; a backslash helps") from error


def moment(text: str, now: datetime, option: str) -> str:
    """Return the time that `text` means, as lines carry it: `10m`, `2h`, or an ISO time (UTC unless it says else).

    Raises:
        ValueError: it is neither, or lies outside of the calendar; names the option.

    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    try:
        when = now - timedelta(seconds=float(found[1]) * _UNITS[found[2]]) if found else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{option} {text!a} is no time; write 90s, 10m, 2h, 1d or 2025-07-30T13:00:00") from None
    when = when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def add_options(parser: Parser) -> None:
    """Add the options that say which lines."""
    parser.add_argument("--level", help="lines of this level and above")
    parser.add_argument("--event", metavar="PATTERN", help="events whose name matches, e.g. 'Epoch*'")
    parser.add_argument("--since", metavar="WHEN", help="10m, 2h, 1d or an ISO time")
    parser.add_argument("--until", metavar="WHEN", help="the same; lines before it")
    parser.add_argument("--all", action="store_true", help="the system's own events too: seals, gap markers")


def count(text: str) -> int:
    """Return the number that an option says, which is none below zero."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number
