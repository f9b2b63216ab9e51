"""`logferry logs`: read running logs, of one run or of an experiment, once or as they grow.

Lines of one host come in the order of its files. Where several hosts or runs are merged they are ordered by time, each
one's own order kept (running maximum of its times).
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from logferry.cli import FINE, Parser, UsageError, printable, settings_of
from logferry.layout import Home
from logferry_agent.follow import RunTail
from logferry_agent.fs import allow_most_files
from logferry_agent.logset import RunLogs, find, host_blocks, runs, say_unreadable
from logferry_agent.rotation import LogName
from logferry_agent.scanner import Hits, every, holding
from logferry_agent.selection import Filter, Line, add_options, count, parsed

_POLL_S = 0.05
# Looking for new runs lists every experiment; it may take a tenth of the time, but happens at least this often.
_DISCOVER_S = 0.1


def read_runs(found: Iterable[RunLogs], hits: Hits = every) -> Iterator[Line]:
    """Yield the lines of some runs that `hits` finds, merged."""
    return merged([host_lines(run, logs, hits) for run in found for logs in run.files().values()])


def merged(streams: list[Iterator[Line]]) -> Iterator[Line]:
    """Merge streams by the running maximum of each one's times."""
    if len(streams) == 1:
        yield from streams[0]
        return
    for _, _, line in heapq.merge(*(_timed(stream, number) for number, stream in enumerate(streams))):
        yield line


def _timed(stream: Iterable[Line], number: int) -> Iterator[tuple[tuple[str, int, int], int, Line]]:
    latest = ""
    for position, line in enumerate(stream):
        latest = max(latest, line.time)
        yield (latest, number, position), number, line


def host_lines(run: RunLogs, logs: list[LogName], hits: Hits) -> Iterator[Line]:
    """Yield the lines of one host's files that `hits` finds; what cannot be read is said."""
    for block in host_blocks(run, logs, say_unreadable):
        yield from parsed(run.run, hits(block))


def logs(arguments: list[str]) -> int:
    """Verb: print running logs."""
    options = _parser().parse_args(arguments)
    if options.json:
        options.format = "json"
    home = Home(settings_of(options).home)
    try:
        chosen = Filter(options, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"logs: {error}") from error
    found = _found(home, options)
    allow_most_files()  # where runs are merged, a file of each is open
    printer = _Printer(options.format, several=len(found) > 1 or (options.follow and not _is_one(found, options.run)))
    if options.follow:
        _follow(home, options, chosen, printer, found)
    else:
        lines = filter(chosen.lets, read_runs(found, holding(chosen.needles)))
        printer.show(lines if options.tail is None else deque(lines, options.tail))
    return FINE


def _parser() -> Parser:
    parser = Parser("logs")
    parser.add_argument("run", nargs="?", metavar="RUN", help="run, experiment, or part of a run id; the latest run")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("-n", "--tail", type=count, metavar="N", help="only the last N lines")
    add_options(parser)
    parser.add_argument("--grep", metavar="REGEX", help="lines whose text form matches")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--json", action="store_true", help="the JSON lines themselves")
    return parser


def _found(home: Home, options: argparse.Namespace) -> list[RunLogs]:
    found = find(home, options.run)
    if not found and not (options.follow and options.run is None):
        what = f"no run or experiment {options.run!a}" if options.run else "no running logs"
        raise UsageError(f"logs: {what} under {home.logs}; 'logferry runs' lists what there is")
    if len({run.experiment for run in found}) > 1 and not _is_one(found, options.run):
        names = ", ".join(f"{run.experiment}/{run.run}" for run in found[:8])
        raise UsageError(f"logs: {options.run!a} fits several runs: {names}; give more of the id")
    return found


def _is_one(found: list[RunLogs], wanted: str | None) -> bool:
    return wanted is not None and all(run.run == wanted for run in found)


def _follow(home: Home, options: argparse.Namespace, chosen: Filter, printer: _Printer, found: list[RunLogs]) -> None:
    """Print what is there (as far as `--tail` says), then what comes, until interrupted."""
    tails = {run.path: RunTail(run, from_start=True) for run in found}
    known = {run.path for run in runs(home)} if options.run is None else set()
    first = True
    next_look = 0.0
    while True:
        lines = _polled(tails.values())
        kept = filter(chosen.lets, lines)
        printer.show(deque(kept, options.tail) if first and options.tail is not None else kept)
        first = False
        now = time.monotonic()
        if now >= next_look and not _is_one(found, options.run):
            for run in runs(home) if options.run is None else find(home, options.run):
                if run.path not in known and run.path not in tails:
                    tails[run.path] = RunTail(run, from_start=True)
            next_look = time.monotonic() + max(_DISCOVER_S, 9 * (time.monotonic() - now))
        time.sleep(_POLL_S)


def _polled(tails: Iterable[RunTail]) -> Iterator[Line]:
    streams = [parsed(tail.run.run, lines) for tail in tails for lines in tail.poll()]
    return merged(streams)


class _Printer:
    """Prints lines in one of the formats; where several runs are shown, text lines begin with their run."""

    def __init__(self, form: str, *, several: bool) -> None:
        self._json = form == "json"
        self._several = several

    def show(self, lines: Iterable[Line]) -> None:
        out = sys.stdout
        any_shown = False
        for line in lines:
            out.write(self._shown(line) + "\n")
            any_shown = True
        if any_shown:
            out.flush()

    def _shown(self, line: Line) -> str:
        if self._json:
            return line.raw.decode()
        return f"{printable(line.run)} {line.text}" if self._several else line.text
