"""`logferry compare`: what differs between runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from logferry.cli import FINE, Parser, UsageError
from logferry_collector.export import differences
from logferry_collector.output import MAX_CELL, cell, print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.verb import answer, complain, json_option

# They differ between any two runs, and tell nothing of why the runs came out differently.
_ALWAYS_DIFFER = frozenset({"run_id", "timestamp", "owner", "revision", "environment.pid"})
# So much of what is the same before a difference shows where it is.
_CONTEXT = 12


def compare(arguments: list[str]) -> int:
    """Show the keys in which runs differ."""
    parser = Parser("compare")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="an id, its beginning or end, or EXPERIMENT/RUN")
    parser.add_argument("--all", action="store_true", help="what is the same or always differs too")
    json_option(parser)
    options = parser.parse_args(arguments)
    labels = list(dict.fromkeys(options.runs))
    if len(labels) < 2:
        raise UsageError("compare: at least two runs are needed; 'logferry runs' lists them")

    def question(reader: Reader) -> int:
        documents = {label: reader.run(label) for label in labels}
        if len({(one["experiment_id"], one["run_id"]) for one in documents.values()}) < len(labels):
            raise UsageError(f"compare: some of {', '.join(labels)} are the same run; 'logferry runs' lists all")
        found = differences(documents, same=options.all)
        if not options.all:
            found = {key: values for key, values in found.items() if key not in _ALWAYS_DIFFER}
        if options.json:
            print_json(found)
        elif found:
            cells = {
                key: _from_difference([_cell(values.get(label)) for label in labels]) for key, values in found.items()
            }
            print_table(["", *labels], [[key, *texts] for key, texts in cells.items()])
        else:
            complain("these runs do not differ in anything that tells; --all shows what they have")
        return FINE

    return answer(options, question)


def _cell(value: Any) -> str:
    """Return a value as one line; of several lines, as a traceback has, the last is the one that tells."""
    lines = value.strip().splitlines() if isinstance(value, str) else []
    return f"… {cell(lines[-1])}" if len(lines) > 1 else cell(value)


def _from_difference(texts: Sequence[str]) -> list[str]:
    """Leave out what long cells have in common, or the difference would be cut off."""
    there = [text for text in texts if text]
    same = sum(1 for _ in takewhile(lambda signs: len(set(signs)) == 1, zip(*there, strict=False))) - _CONTEXT
    if max(map(len, texts)) <= MAX_CELL // 2 or same <= 0 or len(set(there)) == 1:
        return list(texts)
    return [f"…{text[same:]}" if text else "" for text in texts]
