"""`logferry runs`: which runs there are, and how they ended."""

from __future__ import annotations

from typing import Any

from logferry.cli import FINE, Parser
from logferry_collector.output import print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.verb import answer, count, json_option

_FIELDS = ("run_id", "experiment_id", "status", "started", "duration_s", "host")
_MORE = ("timestamp", "group", "attempt", "exit")


def runs(arguments: list[str]) -> int:
    """List runs, those that started last first."""
    parser = Parser("runs")
    parser.add_argument("where", nargs="*", metavar="WHERE", help="which, as for 'logferry results'")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N")
    json_option(parser)
    options = parser.parse_args(arguments)

    def question(reader: Reader) -> int:
        found = reader.results(" ".join(options.where), sort="started", desc=True, limit=options.limit)
        if options.json:
            print_json([{name: document.get(name) for name in _FIELDS + _MORE} for document in found])
        else:
            rows = [[_short(name, document.get(name)) for name in _FIELDS] for document in found]
            print_table(_FIELDS, rows, whole=_FIELDS[:2])
        return FINE

    return answer(options, question)


def _short(name: str, value: Any) -> Any:
    """Return what a list of runs needs of a value: seconds."""
    if name == "started" and isinstance(value, str):
        return value.partition(".")[0].rstrip("Z").replace("T", " ")
    return f"{value:.1f}" if name == "duration_s" and isinstance(value, int | float) else value
