"""`logferry compare`: what differs between runs, side by side."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from logferry.cli import FINE, Parser, UsageError
from logferry_collector.export import differences, flat
from logferry_collector.grouptable import with_deviation
from logferry_collector.output import MAX_CELL, cell, json_text, print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.results import EXPERIMENT_ID, RUN_ID, Results
from logferry_collector.store.means import single
from logferry_collector.verb import answer, complain, json_option
from logferry_collector.where import And, Key, Literal, OneOf, negated

# They differ between any two runs, and tell nothing of why the runs came out differently.
_ALWAYS_DIFFER = frozenset({"run_id", "timestamp", "owner", "revision", "environment.pid"})
# Of a group these tell nothing either.
_OWN = frozenset({"started", "duration_s", "host", "attempt", "notes"})
# More do not fit side by side, and of a group's values the commonest say what it is.
_MOST, _VALUES = 10, 3
_EXAMPLES = """\
examples:
  logferry compare 3f9xk2m7 8d2b71qp
  logferry compare 3f9xk2m7 --against 'config.lr = 0.01 and tags has baseline'
"""
# So much of what is the same before a difference shows where it is.
_CONTEXT = 12


def compare(arguments: list[str]) -> int:
    """Show the keys in which runs differ."""
    parser = Parser("compare", epilog=_EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="an id, its beginning or end, or EXPERIMENT/RUN")
    parser.add_argument("--all", action="store_true", help="what is the same or always differs too")
    parser.add_argument("--against", metavar="WHERE", help="one run with all results that this means: mean ± std")
    json_option(parser)
    options = parser.parse_args(arguments)
    labels = list(dict.fromkeys(options.runs))
    if options.against is not None:
        if len(labels) > 1:
            raise UsageError("compare: --against takes one run")
        return answer(options, lambda reader: _against(reader, labels[0], options))
    if not 2 <= len(labels) <= _MOST:
        raise UsageError(f"compare: two to {_MOST} runs stand side by side; 'logferry runs' lists them")

    def question(reader: Reader) -> int:
        documents = dict(zip(labels, reader.runs(labels), strict=True))
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


def _against(reader: Reader, label: str, options: argparse.Namespace) -> int:
    """Compare a run with a group that it need not be in; it is left out there."""
    run = reader.run(label)
    own = And((_is(EXPERIMENT_ID, run["experiment_id"]), _is(RUN_ID, run["run_id"])))
    others = reader.results(options.against).but(negated(own))
    if not len(others):
        raise UsageError(f"compare: no other results match {options.against!a}")
    values = flat(run, deep=True)
    metrics = _metrics(others, values)
    settings = _settings(others, values, same=options.all)
    if options.json:
        print_json({"n": len(others), "metrics": metrics, "differences": settings})
        return FINE
    rows = [
        [name, one["run"], with_deviation(one["mean"], one["std"] or 0.0), one["n"], _times(one["deviations"])]
        for name, one in metrics.items()
    ]
    print_table(["", label, f"mean ± std of {len(others)}", "n", "off by"], rows, whole=[label])
    if settings:
        print()
        told = [[key, _cell(one["run"]), _counted(one["others"])] for key, one in settings.items()]
        print_table(["", label, f"the other {len(others)}"], told, whole=[label])
    return FINE


def _metrics(others: Results, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each metric of a run with what the others have there, and how many deviations it is off."""
    found: dict[str, dict[str, Any]] = {}
    for row in others.group([], over=None):
        for key in (key for key in others.names.known if key.section == "metrics"):
            value, name = values.get(key.full_name), f"{key.name}.mean"
            _, figure = single(value)
            if figure is not None and row.get(name) is not None:
                mean, std = row[name], row[f"{key.name}.std"]
                off = (figure - mean) / std if std else None
                found[key.name] = {"run": value, "n": row[f"{key.name}.n"], "mean": mean, "std": std, "deviations": off}
    return found


def _settings(others: Results, values: dict[str, Any], *, same: bool) -> dict[str, dict[str, Any]]:
    """Return the keys but metrics in which a run is not as most of the others are, with their values and numbers."""
    rows = [flat(document, deep=True) for document in others]
    keys = dict.fromkeys(key for row in (values, *rows) for key in row if not key.startswith("metrics."))
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        counted = Counter(json_text(row.get(key)) for row in rows)
        alike = counted[json_text(values.get(key))]
        if same or (key not in _ALWAYS_DIFFER | _OWN and 2 * alike <= len(rows)):
            most = [{"value": json.loads(text), "n": n} for text, n in counted.most_common(_VALUES)]
            found[key] = {"run": values.get(key), "others": most, "more": max(0, len(counted) - _VALUES)}
    return found


def _is(key: Key, value: str) -> OneOf:
    return OneOf(key, (Literal(value, value),))


def _times(deviations: float | None) -> str:
    return "" if deviations is None or math.isnan(deviations) else f"{deviations:+.1f} std"


def _counted(values: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{_cell(one['value']) or '(none)'} ×{one['n']}" for one in values)


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
