"""`logferry search`: a text in the running logs of many runs, rotated and compressed files too.

The text is looked for in the lines as they lie in the files, so names, messages, fields and values are all searched.
Runs come one after the other, each one's lines in the order of its files.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from logferry.cli import FINE, NO, Parser, UsageError, printable, settings_of
from logferry.layout import Home
from logferry_agent.logset import RunLogs, runs
from logferry_agent.needles import literal
from logferry_agent.pages import Page, View, pages
from logferry_agent.scanner import Hits, holding, matching
from logferry_agent.selection import Filter, add_options, count, pattern_of


def search(arguments: list[str]) -> int:
    """Verb: print the lines that hold a text; exit code 1 where there is none."""
    options = _parser().parse_args(arguments)
    try:
        chosen = Filter(options, datetime.now(UTC))
        hits = _hits(options, chosen)
    except ValueError as error:
        raise UsageError(f"search: {error}") from error
    view = View(chosen, _as_json if options.json else _as_text, as_json=options.json, hits=hits)
    found = [run for run in runs(Home(settings_of(options).home)) if _is_meant(run, options)]
    shown = 0
    for page in _pages(found, view):
        lines = page.lines if options.limit is None else page.lines[: options.limit - shown]
        if lines:
            sys.stdout.write("\n".join([*lines, ""]))
        shown += len(lines)
        if shown == options.limit:
            break
    return FINE if shown else NO


def _parser() -> Parser:
    parser = Parser("search")
    parser.add_argument("text", metavar="TEXT", help="what stands in the line, as JSON has it")
    parser.add_argument("--regex", action="store_true", help="TEXT is a regular expression")
    parser.add_argument("--experiment", metavar="PATTERN", default="*", help="only in experiments that match")
    parser.add_argument("--run", metavar="PATTERN", default="*", help="only in runs that match")
    parser.add_argument("--limit", type=count, metavar="N", help="no more than N lines")
    parser.add_argument("--json", action="store_true", help="one object a line: experiment_id, run_id, line")
    add_options(parser)
    parser.set_defaults(grep=None)
    return parser


def _is_meant(run: RunLogs, options: argparse.Namespace) -> bool:
    return fnmatch.fnmatchcase(run.experiment, options.experiment) and fnmatch.fnmatchcase(run.run, options.run)


def _hits(options: argparse.Namespace, chosen: Filter) -> Hits:
    if options.regex:
        return matching(pattern_of(options.text, "--regex"), chosen.needles)
    return holding(literal(options.text) + chosen.needles)


def _pages(found: list[RunLogs], view: View) -> Iterator[Page]:
    for run in found:
        for logs in run.files().values():
            yield from pages(run, logs, view)


def _as_text(run: RunLogs) -> tuple[str, str]:
    return printable(f"{run.experiment}/{run.run} "), ""


def _as_json(run: RunLogs) -> tuple[str, str]:
    ids = orjson.dumps({"experiment_id": run.experiment, "run_id": run.run})[:-1].decode()
    return f'{ids},"line":', "}"
