"""`logferry compare`: what differs between runs, side by side."""

from __future__ import annotations

from logferry.cli import FINE, Parser, UsageError
from logferry_collector.export import flat
from logferry_collector.output import print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.verb import answer, json_option


def compare(arguments: list[str]) -> int:
    """Show the keys in which runs differ."""
    parser = Parser("compare")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="an id, its beginning or end, or EXPERIMENT/RUN")
    parser.add_argument("--all", action="store_true", help="what is the same too")
    json_option(parser)
    options = parser.parse_args(arguments)
    if len(set(options.runs)) < 2:
        raise UsageError("compare: at least two runs are needed; 'logferry runs' lists them")

    def question(reader: Reader) -> int:
        found = _everything(reader, options.runs) if options.all else reader.results().diff(*options.runs)
        if options.json:
            print_json(found)
        else:
            print_table(["", *options.runs], [[key, *map(values.get, options.runs)] for key, values in found.items()])
        return FINE

    return answer(options, question)


def _everything(reader: Reader, runs: list[str]) -> dict[str, dict[str, object]]:
    rows = {run: flat(reader.run(run)) for run in runs}
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    return {key: {run: row[key] for run, row in rows.items() if key in row} for key in keys}
