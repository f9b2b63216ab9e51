"""`logferry plot`: two keys as points or as lines with bands over seeds, more as parallel coordinates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from logferry.cli import FINE, NO, Parser, UsageError
from logferry.results import number
from logferry_collector.axes import Axis, Series, is_number, is_there
from logferry_collector.export import plain
from logferry_collector.output import note
from logferry_collector.query import Reader
from logferry_collector.results import Results
from logferry_collector.verb import answer, complain, into

SUFFIXES = (".png", ".svg")
_EXAMPLES = """\
examples:
  logferry plot lr test_acc --by optimizer              points, on the terminal
  logferry plot lr test_acc --lines --output lr.png     mean ± std over seeds
  logferry plot lr dropout test_acc --output all.svg    parallel coordinates
"""


def plot(arguments: list[str]) -> int:
    """Draw results."""
    parser = Parser("plot", epilog=_EXAMPLES)
    parser.add_argument("keys", nargs="+", metavar="KEY", help="X Y, or three and more for parallel coordinates")
    parser.add_argument("--where", default="", metavar="WHERE", help="which results, as for 'logferry results'")
    parser.add_argument("--by", metavar="KEY", help="a colour for each value of this key")
    parser.add_argument("--lines", action="store_true", help="the mean at each X, with a band of its spread")
    parser.add_argument("--over", metavar="KEY", default="seed", help="what tells repetitions apart (seed)")
    parser.add_argument("--band", choices=("std", "ci95"), default="std", help="how wide the band is (std)")
    parser.add_argument("--output", metavar="FILE", type=Path, help="a .png or .svg; without, the terminal")
    options = parser.parse_args(arguments)
    if len(options.keys) < 2:
        raise UsageError("plot: at least two keys are needed, X and Y")
    if options.lines and len(options.keys) > 2:
        raise UsageError("plot: --lines takes two keys, X and Y")
    if options.output and options.output.suffix not in SUFFIXES:
        raise UsageError(f"plot: {options.output} is to be a picture; its name ends in one of {', '.join(SUFFIXES)}")
    return answer(options, lambda reader: _draw(reader, options))


def _draw(reader: Reader, options: argparse.Namespace) -> int:
    found = reader.results(options.where)
    names = [found.names.resolve(name).full_name for name in options.keys]
    if len(names) > 2:
        rows, left_out = _rows(found, names)
        series: list[Series] = []
    else:
        series, left_out = _bands(found, names, options) if options.lines else _points(found, names, options.by)
        rows = [(x, y) for one in series for x, y in zip(one.x, one.y, strict=True)]
    if not rows:
        complain(f"nothing to draw: no result has a value for each of {', '.join(names)}")
        return NO
    axes = [Axis.of(_short(name, names), [row[place] for row in rows]) for place, name in enumerate(names)]
    _show(options, axes, series, rows)
    if left_out:
        note(f"{left_out} of {left_out + len(rows)} results lack a value, or have NaN, and are not drawn")
    return FINE


def _short(name: str, names: list[str]) -> str:
    bare = [one.removeprefix("config.").removeprefix("metrics.") for one in names]
    short = name.removeprefix("config.").removeprefix("metrics.")
    return short if bare.count(short) == 1 else name


def _show(options: argparse.Namespace, axes: list[Axis], series: list[Series], rows: list[tuple[Any, ...]]) -> None:
    if options.output:
        from logferry_collector import figure  # noqa: PLC0415 - draws with matplotlib

        with into(options.output):
            figure.save(axes, series, rows, options.by or "", options.output)
        return
    from logferry_collector import sketch  # noqa: PLC0415 - a picture in a file does not need it

    sketch.show(axes, series, rows)


def _rows(found: Results, names: list[str]) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows that have a value everywhere, and how many have not."""
    rows = [tuple(map(number, row)) for row in found.values(names)]
    whole = [row for row in rows if all(is_there(value) for value in row)]
    return whole, len(rows) - len(whole)


def _points(found: Results, names: list[str], by: str | None) -> tuple[list[Series], int]:
    series: dict[str, Series] = {}
    left_out = 0
    for x, y, *group in found.values([*names, *([by] if by else [])]):
        at, measured = number(x), number(y)
        if not is_there(at) or not is_number(measured) or not is_there(measured):
            left_out += 1
            continue
        name = str(plain(group[0])) if group else names[1]
        into = series.setdefault(name, Series(name))
        into.x.append(at)
        into.y.append(measured)
    return sorted(series.values(), key=lambda one: one.name), left_out


def _bands(found: Results, names: list[str], options: argparse.Namespace) -> tuple[list[Series], int]:
    x, y = names
    keys = [x, *([options.by] if options.by else [])]
    groups = found.group(keys, over=options.over, agg=("mean", options.band), metrics=[y])
    x_name, y_name = groups.name_of(x), groups.metrics.get(found.names.resolve(y), y)
    by_name = groups.name_of(options.by) if options.by else None
    series: dict[str, Series] = {}
    left_out = 0
    for row in groups:
        mean, width = row.get(f"{y_name}.mean"), row.get(f"{y_name}.{options.band}") or 0.0
        at = number(row[x_name])
        if mean is None or not is_there(at) or not is_there(mean):
            left_out += row["n"]
            continue
        name = str(plain(row[by_name])) if by_name else names[1]
        into = series.setdefault(name, Series(name))
        into.x.append(at)
        into.y.append(mean)
        into.low.append(mean - width)
        into.high.append(mean + width)
    return sorted(series.values(), key=lambda one: one.name), left_out
