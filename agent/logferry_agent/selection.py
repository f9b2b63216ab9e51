"""Which lines of running logs somebody wants to see, and what is a line at all."""

from __future__ import annotations

import argparse
import fnmatch
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from logferry.cli import Parser
from logferry.events import INFO, LEVEL_NAMES, SYSTEM_PREFIX, level_number
from logferry_agent.needles import Needles, in_text_form
from logferry_agent.ordinary import ordinary, text_of
from logferry_agent.text import text_line

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEVELS = frozenset(LEVEL_NAMES.values())


class Line:
    """A line with its run; its text form is made when somebody asks for it, once."""

    __slots__ = ("_found", "_text", "event", "level", "raw", "run", "time")

    def __init__(
        self, run: str, raw: bytes, time: str, level: str, event: str, found: re.Match[str] | dict[str, Any]
    ) -> None:
        self.run, self.raw, self.time, self.level, self.event = run, raw, time, level, event
        self._found = found
        self._text = ""

    @property
    def text(self) -> str:
        if not self._text:
            found = self._found
            self._text = text_line(found) if isinstance(found, dict) else text_of(found)
        return self._text


class Filter:
    """What the options let through; `hits` finds the lines that it may let through."""

    def __init__(self, options: argparse.Namespace, now: datetime) -> None:
        least = level_number(options.level) if options.level else 0
        self._levels = frozenset(name for number, name in LEVEL_NAMES.items() if number >= least)
        self._is_event = _event_matcher(options.event) if options.event else None
        self._grep = pattern_of(options.grep, "--grep") if options.grep else None
        self._since = moment(options.since, now, "--since") if options.since else ""
        self._until = moment(options.until, now, "--until") if options.until else ""
        self._all = options.all
        self.needles = in_text_form(options.grep or "") + in_text_form(fnmatch.translate(options.event or "*"))
        if least > INFO:  # the others are on most lines
            self.needles += Needles([[f'"{name}"'.encode() for name in sorted(self._levels)]])

    def lets(self, line: Line) -> bool:
        return (
            line.level in self._levels
            and (self._all or not line.event.startswith(SYSTEM_PREFIX))
            and (self._is_event is None or self._is_event(line.event))
            and (not self._since or line.time >= self._since)
            and (not self._until or line.time < self._until)
            and (self._grep is None or self._grep.search(line.text) is not None)
        )


def _event_matcher(pattern: str) -> Callable[[str], bool]:
    # Programs use few names, hostile ones must not fill memory.
    return lru_cache(4096)(lambda event: fnmatch.fnmatchcase(event, pattern))


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


def parsed(run: str, lines: Iterable[bytes]) -> Iterator[Line]:
    """Yield lines with their content; what is no line of a running log is left out here, `verify` names it."""
    for raw in lines:
        try:
            found = ordinary(raw.decode())
            if found:
                yield Line(run, raw, found[1], found[2], found[3], found)
                continue
            data = orjson.loads(raw)
            if _is_line(**data):
                yield Line(run, raw, data["time"], data["level"], data["event"], data)
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
