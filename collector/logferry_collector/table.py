"""`logferry results`: the results table, the best of groups, and groups over seeds."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from logferry.cli import FINE, Parser, UsageError
from logferry_collector.columns import ID, columns_of, interesting, named
from logferry_collector.export import flat, write_csv, write_json, write_jsonl, write_latex, write_markdown
from logferry_collector.frames import write_parquet
from logferry_collector.group import AGGREGATES
from logferry_collector.grouptable import group_table
from logferry_collector.kept import kept
from logferry_collector.output import cell, note, print_table
from logferry_collector.query import Reader
from logferry_collector.results import Results
from logferry_collector.verb import answer, complain, count, doubt, into

FORMATS = ("table", "json", "jsonl", "csv", "parquet", "markdown", "latex")
_SUFFIXES = {"json": "json", "jsonl": "jsonl", "csv": "csv", "parquet": "parquet", "md": "markdown", "tex": "latex"}
_WHOLE = ("experiment_id", ID, "status")
# So much of a value says which it is, in a line that has many.
_CONSTANT = 24
_EXAMPLES = """\
examples:
  logferry results 'metrics.acc > 0.9 and model = ResNet34 and started > -7d'
  logferry results 'not lr in (0.1, 0.01)' --sort acc --desc --limit 20
  logferry results --best acc by dataset
  logferry results --group-by lr --agg mean,ci95 --columns 'metrics.test_*'
  logferry results --group-by model --pivot dataset --columns acc --format latex
WHERE is KEY = != < <= > >= ~ VALUE, KEY in (A, B), KEY has VALUE, KEY is null,
joined by and, or, not, ( ); all of it is in docs/results.md
"""


def results(arguments: list[str]) -> int:
    """Filter, sort, group and export results."""
    options = _parser().parse_args(arguments)
    _complete(options)
    return answer(options, lambda reader: _print(reader, options))


def _parser() -> Parser:
    parser = Parser("results", epilog=_EXAMPLES)
    parser.add_argument("where", nargs="*", metavar="WHERE", help="which; all by default")
    parser.add_argument("--sort", metavar="KEY", help="in order of a key; what lacks it, and NaN, come last")
    parser.add_argument("--desc", action="store_true", help="the greatest first")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N rows")
    parser.add_argument("--columns", metavar="KEYS", help="these keys; * ? […] stand for any signs")
    best = parser.add_argument_group("the best", "the highest, of all or of each group")
    best.add_argument("--best", nargs="+", metavar="KEY", help="KEY, or KEY by KEYS: the best run by a metric")
    best.add_argument("--lowest", action="store_true", help="the lowest is the best")
    groups = parser.add_argument_group("groups")
    groups.add_argument("--group-by", metavar="KEYS", help="aggregate the metrics of runs that agree in these keys")
    groups.add_argument("--over", metavar="KEY", default="seed", help="what tells repetitions apart (seed)")
    groups.add_argument("--agg", metavar="NAMES", help=f"of {','.join(AGGREGATES)}; a table shows mean ± std")
    groups.add_argument("--pivot", metavar="KEY", help="a column for each value of this key")
    out = parser.add_argument_group("output")
    out.add_argument("--format", choices=FORMATS)
    out.add_argument("--json", action="store_true", help="the same as --format json")
    out.add_argument("--output", metavar="FILE", type=Path, help="write there; its suffix says the format")
    return parser


def _complete(options: argparse.Namespace) -> None:
    """Work out what one option says about another."""
    options.by = ""
    if options.best:
        first, *rest = options.best
        options.best, by, keys = first.partition(" by ")  # in quotes it is one argument
        rest = ["by", keys, *rest] if by else rest
        if rest and rest[0] == "by":
            options.by, rest = rest[1] if len(rest) > 1 else "", rest[2:]
        options.where += rest
        if options.sort or options.desc or options.group_by:
            raise UsageError(
                "results: --best sorts by itself and takes runs whole; leave out --sort, --desc, --group-by"
            )
    if options.lowest and not options.best:
        raise UsageError("results: --lowest says which is the best; say of what with --best KEY")
    if options.agg and not options.group_by:
        raise UsageError("results: --agg aggregates groups; say which groups with --group-by")
    if options.pivot and not options.group_by:
        raise UsageError("results: --pivot spreads a key of groups; say which groups with --group-by")
    suffix = options.output.suffix.removeprefix(".") if options.output else ""
    options.format = "json" if options.json else options.format or _SUFFIXES.get(suffix, "csv" if suffix else "table")


def _print(reader: Reader, options: argparse.Namespace) -> int:
    where = " ".join(options.where)
    if options.group_by:
        found = reader.results(where)
        doubt(found, nothing_found=not _print_groups(found, options))
        return FINE
    found = reader.results(where, options.sort, options.desc, options.limit)
    if options.best:
        found = found.best(options.best, split(options.by), lowest=options.lowest)
    printed = _print_results(options, found)
    if not printed and (options.columns or options.format not in {"json", "jsonl"}):
        complain(
            f"no results match {where!a}" if where else f"no results yet; {reader.home.results} is where they appear"
        )
    doubt(found, nothing_found=not printed)
    return FINE


def _print_results(options: argparse.Namespace, found: Results) -> int:
    """Write results, of which there may be more than memory has room for; return how many there were."""
    count = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal count
        for document in found:
            count += 1
            yield document

    same: dict[str, Any] = {}
    asked = [found.names.resolve(name).full_name for name in (options.sort or options.best, *split(options.by)) if name]
    if options.columns:
        columns = _columns(options, found)
        _write(options, columns, _chosen(columns, documents()))
    elif options.format in {"json", "jsonl"}:
        _write(options, [], documents())
    elif options.format == "parquet":
        _write(options, None, map(flat, documents()))
    elif options.format == "csv":
        with kept(map(flat, documents()), columns_of) as (columns, rows):
            _write(options, columns, rows)
    else:
        with kept(map(flat, documents()), partial(interesting, asked=asked)) as ((columns, same), rows):
            _write(options, columns, map(_with_tags, rows))
    if options.format == "table":
        if same:
            what = ", ".join(f"{name}={cell(value)[:_CONSTANT]}" for name, value in same.items())
            note(f"the same in all {count}: {what}")
        missing, not_numbers = found.unsortable()
        counts = {"without": missing, "with NaN as": not_numbers}
        if last := ", ".join(f"{few} {what} {asked[0]}" for what, few in counts.items() if few):
            note(f"sorted last: {last}")
    return count


def _with_tags(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"tags": ", ".join(map(str, row["tags"] or []))} if "tags" in row else row


def _columns(options: argparse.Namespace, found: Results) -> list[str]:
    return [key.full_name for key in named(found.names, split(options.columns))]


def _chosen(columns: list[str], documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    deep = (document | flat(document, deep=True) for document in documents)
    return ({column: row.get(column) for column in columns} for row in deep)


def _print_groups(found: Results, options: argparse.Namespace) -> int:
    """Print groups; return how many there are."""
    agg = split(options.agg) if options.agg else ("n", "mean", "std")
    metrics = [key.full_name for key in named(found.names, split(options.columns))] if options.columns else None
    keys = split(options.group_by)
    if options.pivot and options.pivot not in keys:
        keys.append(options.pivot)
    groups = found.group(keys, over=options.over, agg=agg, metrics=metrics)
    groups.sort(options.sort, desc=options.desc)
    if not options.pivot:
        groups.rows = groups.rows[: options.limit]
    if options.format in {"json", "jsonl", "csv", "parquet"} and not options.pivot:
        _write(options, list(dict.fromkeys(key for row in groups.rows for key in row)), groups.rows)
    else:
        columns, rows = group_table(groups, agg, options.pivot)
        _write(options, columns, rows[: options.limit])
    if options.format == "table":
        runs, repetitions = len(found), sum(row["n"] for row in groups)
        if repetitions < runs and not options.limit:
            said = f"runs of a group with the same {options.over} count as one, by their mean"
            note(f"{runs} runs are {repetitions} repetitions: {said}; --group-by tells more apart")
        diverged = [name for name in groups.metrics.values() if any(_is_nan(row.get(f"{name}.mean")) for row in groups)]
        if diverged:
            said = f"one NaN makes the mean of its group NaN; '{diverged[0]} is not nan' leaves such runs out"
            note(f"{', '.join(diverged)}: {said}")
    return len(groups.rows)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def split(text: str | None) -> list[str]:
    """Return the names that a comma-separated list has."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _write(options: argparse.Namespace, columns: list[str] | None, rows: Iterable[dict[str, Any]]) -> None:
    if not isinstance(rows, list):
        # What cannot be asked says so before a file is opened, which may be an older export.
        rest = iter(rows)
        rows = chain(list(islice(rest, 1)), rest)
    with into(options.output):
        _write_out(options, columns, rows)


def _write_out(options: argparse.Namespace, columns: Any, rows: Any) -> None:
    if options.format == "parquet":
        if options.output is None and sys.stdout.isatty():
            raise UsageError("parquet is binary; say where to with --output FILE")
        write_parquet(rows, columns, options.output or sys.stdout.buffer)
    elif options.output is not None:
        with options.output.open("w", newline="", encoding="utf-8") as file:
            _write_text(options.format, columns, rows, file)
    elif options.format == "table":
        heads = _short_names(columns)
        print_table(heads, _values(columns, rows), whole=heads if options.group_by else _WHOLE)
    else:
        _write_text(options.format, columns, rows, sys.stdout)


def _write_text(form: str, columns: list[str], rows: Any, file: Any) -> None:
    if form == "csv":
        write_csv(rows, columns, file)
    elif form in {"json", "jsonl"}:
        (write_json if form == "json" else write_jsonl)(rows, file)
    else:
        write = write_latex if form == "latex" else write_markdown
        write(_short_names(columns), _values(columns, rows), file)


def _values(columns: list[str], rows: Iterable[dict[str, Any]]) -> Iterator[list[Any]]:
    return ([row.get(column) for column in columns] for row in rows)


def _short_names(columns: list[str]) -> list[str]:
    short = [column.removeprefix("config.").removeprefix("metrics.") for column in columns]
    return [name if short.count(name) == 1 else column for name, column in zip(short, columns, strict=True)]
