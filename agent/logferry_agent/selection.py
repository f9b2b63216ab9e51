"""Which lines of running logs somebody wants to see, and what is a line at all."""

from __future__ import annotations

import argparse
import fnmatch
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from logferry.cli import Parser
from logferry.events import LEVEL_NAMES, SYSTEM_PREFIX, level_number
from logferry_agent.scanner import Hits, containing, every, required
from logferry_agent.text import text_line

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEVELS = frozenset(LEVEL_NAMES.values())


class Line(NamedTuple):
    """A line with its run."""

    run: str
    raw: bytes
    data: dict[str, Any]


class Filter:
    """What the options let through."""

    def __init__(self, options: argparse.Namespace, now: datetime) -> None:
        self._level = level_number(options.level) if options.level else 0
        self._event = options.event
        self._grep = pattern_of(options.grep, "--grep") if options.grep else None
        self._since = moment(options.since, now, "--since") if options.since else ""
        self._until = moment(options.until, now, "--until") if options.until else ""
        self._all = options.all
        needed = required(options.grep) if options.grep else ""
        self.hits: Hits = containing(needed) if needed else every

    def lets(self, line: dict[str, Any]) -> bool:
        event = line["event"]
        return (
            (self._all or not event.startswith(SYSTEM_PREFIX))
            and (not self._level or level_number(line["level"]) >= self._level)
            and (not self._event or fnmatch.fnmatchcase(event, self._event))
            and (not self._since or line["time"] >= self._since)
            and (not self._until or line["time"] < self._until)
            and (self._grep is None or self._grep.search(text_line(line)) is not None)
        )


def pattern_of(text: str, option: str) -> re.Pattern[str]:
    """Compile a regular expression.

    Raises:
        ValueError: it is none; names the option.

    """
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as error:
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


def parsed(run: str, lines: Iterable[bytes]) -> Iterator[Line]:
    """Yield lines with their content; what is no line of a running log is left out here, `verify` names it."""
    for raw in lines:
        try:
            data = orjson.loads(raw)
            if _is_line(**data):
                yield Line(run, raw, data)
        except (ValueError, TypeError):  # not JSON, not an object, or without what every line has
            continue


def _is_line(*, time: Any, level: Any, event: Any, message: Any = "", **_: Any) -> bool:
    printable_time = isinstance(time, str) and time.isascii() and time.isprintable()
    return printable_time and level in _LEVELS and isinstance(event, str) and isinstance(message, str)


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
