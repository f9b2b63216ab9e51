"""`logferry results`: the results table."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logferry.cli import FINE, Parser, UsageError
from logferry_collector.export import columns_of, flat, write_csv, write_parquet
from logferry_collector.group import Groups
from logferry_collector.output import print_json, print_markdown, print_table
from logferry_collector.query import Reader, Results
from logferry_collector.verb import answer, complain, count
from logferry_collector.where import WhereError

FORMATS = ("table", "json", "csv", "parquet", "markdown")
# Beyond so many digits powers of ten read better.
_MAX_DECIMALS = 8
WHERE = (
    "WHERE, for example: 'metrics.acc > 0.9 and (model = ResNet34 or tags has baseline) and started > -7d'; "
    "= != < <= > >= ~ in has is null, joined by and, or, not; docs/results.md says more"
)
_ALWAYS = ("experiment_id", "run_id", "status")


def results(arguments: list[str]) -> int:
    """Filter, sort, group and export results."""
    options = _parser().parse_args(arguments)
    options.format = "json" if options.json else options.format
    return answer(options, lambda reader: _print(reader, options))


def _parser() -> Parser:
    parser = Parser("results", epilog=WHERE)
    parser.add_argument("where", nargs="*", metavar="WHERE", help="which; all by default")
    parser.add_argument("--sort", metavar="KEY", help="in order of a key; what lacks it comes last")
    parser.add_argument("--desc", action="store_true", help="the greatest first")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N rows")
    parser.add_argument("--group-by", metavar="KEYS", help="aggregate the metrics of runs that agree in these keys")
    parser.add_argument("--over", metavar="KEY", default="seed", help="what tells repetitions apart (seed)")
    parser.add_argument("--columns", metavar="KEYS", help="show these keys (or metrics, with --group-by)")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write csv or parquet there")
    return parser


def _print(reader: Reader, options: argparse.Namespace) -> int:
    where = " ".join(options.where)
    if options.group_by:
        return _print_groups(reader.results(where), options)
    found = reader.results(where, options.sort, options.desc, options.limit)
    documents = list(found)
    if options.format == "json" and not options.columns:
        print_json(documents)
        return FINE
    rows = [flat(document) for document in documents]
    if options.columns:
        columns = [found.names.resolve(name).full_name for name in _names(options.columns)]
        everything = [document | flat(document, deep=True) for document in documents]
        rows = [{column: row.get(column) for column in columns} for row in everything]
    else:
        columns = columns_of(rows) if options.format in {"csv", "parquet"} else interesting(rows)
    _write(options, columns, rows)
    if not rows:
        complain(
            f"no results match {where!a}" if where else f"no results yet; {reader.home.results} is where they appear"
        )
    return FINE


def _print_groups(found: Results, options: argparse.Namespace) -> int:
    metrics = _names(options.columns) if options.columns else None
    groups = found.group(_names(options.group_by), over=options.over, metrics=metrics)
    rows = groups.rows
    if options.sort:
        rows = _sorted(rows, _sort_name(found, groups, options.sort), options.desc)
    rows = rows[: options.limit]
    if options.format in {"json", "csv", "parquet"}:
        _write(options, list(dict.fromkeys(key for row in rows for key in row)), rows)
        return FINE
    keys, metric_names = groups.keys.values(), groups.metrics.values()
    shown = [
        {**{key: row[key] for key in keys}, "n": row["n"]} | {name: _mean_and_std(row, name) for name in metric_names}
        for row in rows
    ]
    _write(options, [*keys, "n", *metric_names], shown)
    return FINE


def _sort_name(found: Results, groups: Groups, name: str) -> str:
    """Return the key of a group's row that groups are sorted by."""
    if name == "n":
        return name
    key = found.names.resolve(name)
    if key in groups.metrics:
        return f"{groups.metrics[key]}.mean"
    if key not in groups.keys:
        raise WhereError(f"--sort {name!a} is neither a key of the groups nor one of their metrics; nor is it n")
    return groups.keys[key]


def _sorted(rows: list[dict[str, Any]], name: str, desc: bool) -> list[dict[str, Any]]:
    """Sort by a value of the rows; what has no number there comes last."""
    values = [(row.get(name), row) for row in rows]
    there = [(value, row) for value, row in values if value is not None and value == value]  # noqa: PLR0124 - not NaN
    rest = [row for value, row in values if value is None or value != value]  # noqa: PLR0124
    there.sort(key=lambda pair: (0, pair[0]) if isinstance(pair[0], int | float) else (1, str(pair[0])), reverse=desc)
    return [row for _, row in there] + rest


def _mean_and_std(row: dict[str, Any], metric: str) -> str | None:
    mean, std = row.get(f"{metric}.mean"), row.get(f"{metric}.std")
    if mean is None:
        return None
    counted = "" if row[f"{metric}.n"] == row["n"] else f" (n={row[f'{metric}.n']})"
    return (f"{mean:.4g}" if std is None else with_deviation(mean, std)) + counted


def with_deviation(mean: float, std: float) -> str:
    """Return both with as many decimals as two significant digits of the deviation have."""
    if std > 0 and math.isfinite(std) and math.isfinite(mean):
        decimals = max(0, 1 - int(f"{std:.1e}".partition("e")[2]))
        if decimals <= _MAX_DECIMALS and abs(mean) < 10**_MAX_DECIMALS:
            return f"{mean:.{decimals}f} ± {std:.{decimals}f}"
    return f"{mean:.4g} ± {std:.2g}"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def interesting(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of a table that is read by people: ids, what differs in the configuration, metrics."""
    columns = columns_of(rows)
    settings = [column for column in columns if column.startswith("config.")]
    if len(rows) > 1:
        settings = [column for column in settings if any(row.get(column) != rows[0].get(column) for row in rows)]
    return [*_ALWAYS, *settings, *(column for column in columns if column.startswith("metrics."))]


def _write(options: argparse.Namespace, columns: list[str], rows: list[dict[str, Any]]) -> None:
    values = [[row.get(column) for column in columns] for row in rows]
    if options.format == "json":
        print_json(rows)
    elif options.format == "csv":
        _write_csv(options.output, columns, rows)
    elif options.format == "parquet":
        if options.output is None and sys.stdout.isatty():
            raise UsageError("parquet is binary; say where to with --output FILE")
        write_parquet(rows, columns, options.output or sys.stdout.buffer)
    else:
        heads = _short_names(columns)
        if options.format == "markdown":
            print_markdown(heads, values)
        else:
            print_table(heads, values, whole=_ALWAYS)


def _write_csv(output: Path | None, columns: list[str], rows: list[dict[str, Any]]) -> None:
    if output is None:
        write_csv(rows, columns, sys.stdout)
        return
    with output.open("w", newline="", encoding="utf-8") as file:
        write_csv(rows, columns, file)


def _short_names(columns: Sequence[str]) -> list[str]:
    short = [column.removeprefix("config.").removeprefix("metrics.") for column in columns]
    return [name if short.count(name) == 1 else column for name, column in zip(short, columns, strict=True)]
