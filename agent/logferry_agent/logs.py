"""`logferry logs`: read running logs, of one run or of an experiment, once or as they grow."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

from logferry.cli import FINE, Parser, UsageError, printable, settings_of
from logferry.layout import Home
from logferry_agent.follow import RunTail
from logferry_agent.fs import allow_most_files
from logferry_agent.logset import RunLogs, find, runs
from logferry_agent.pages import View, backwards, last_lines, merged, read_runs
from logferry_agent.selection import Filter, add_options, count

_POLL_S = 0.05
# Looking for new runs lists every experiment; it may take a tenth of the time, but happens at least this often.
_DISCOVER_S = 0.1


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
    several = len(found) > 1 or (options.follow and not _is_one(found, options.run))
    view = View(chosen, _run_first if several and options.format == "text" else _bare, as_json=options.format == "json")
    if options.follow:
        _follow(home, options, view, found)
    else:
        _show(read_runs(found, view) if options.tail is None else [last_lines(backwards(found), view, options.tail)])
    return FINE


def _parser() -> Parser:
    parser = Parser("logs")
    parser.add_argument("run", nargs="?", metavar="RUN", help="run, experiment or part of a run id; the latest without")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("-n", "--tail", type=count, metavar="N", help="only the last N lines")
    add_options(parser)
    parser.add_argument("--grep", metavar="REGEX", help="lines whose text form matches")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text by default")
    parser.add_argument("--json", action="store_true", help="the same as --format json: the lines themselves")
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


def _follow(home: Home, options: argparse.Namespace, view: View, found: list[RunLogs]) -> None:
    """Print what is there (as far as `--tail` says), then what comes, until interrupted."""
    tails = {run.path: RunTail(run) for run in found}
    known = {run.path for run in runs(home)} if options.run is None else set()
    if options.tail is not None:
        there = [(tail.run, files) for tail in tails.values() for files in tail.skip_to_end()]
        _show([last_lines(there, view, options.tail)])
    next_look = 0.0
    while True:
        _show(_polled(tails.values(), view))
        now = time.monotonic()
        if now >= next_look and not _is_one(found, options.run):
            for run in runs(home) if options.run is None else find(home, options.run):
                if run.path not in known and run.path not in tails:
                    tails[run.path] = RunTail(run)
            next_look = time.monotonic() + max(_DISCOVER_S, 9 * (time.monotonic() - now))
        time.sleep(_POLL_S)


def _polled(tails: Iterable[RunTail], view: View) -> Iterator[Iterable[str]]:
    streams = [map(partial(view.page, tail.run, timed=True), blocks) for tail in tails for blocks in tail.poll()]
    return merged(streams)


def _show(groups: Iterable[Iterable[str]]) -> None:
    out = sys.stdout
    for lines in groups:
        text = "\n".join(lines)
        if text:
            out.write(text)
            out.write("\n")
    out.flush()


def _bare(_: RunLogs) -> tuple[str, str]:
    return "", ""


def _run_first(run: RunLogs) -> tuple[str, str]:
    return f"{printable(run.run)} ", ""
