"""`logferry sql`: a query over the store, by a connection that can only read.

Views to rely on: `results` (a row per run: the fields, `config` and `metrics` as JSON, `document` whole, `file`),
`metrics` and `config` (`experiment_id`, `run_id`, `key`, `value` where it is a number, `text`). Status is as stored:
LOST is not known here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Any

from logferry.cli import FINE, Parser, UsageError
from logferry_collector.export import plain, write_json
from logferry_collector.formats import values
from logferry_collector.output import print_table
from logferry_collector.query import Reader
from logferry_collector.store import QueryError
from logferry_collector.verb import answer

_EXAMPLES = """\
views:
  results           a row a run: fields, document; config and metrics as JSON
  metrics, config   a row a key: experiment_id, run_id, key, value, text
examples:
  logferry sql "select status, count(*) as runs from results group by status"
  logferry sql "select run_id, value from metrics where key = 'test_acc'"
"""


def sql(arguments: list[str]) -> int:
    """Run one query and print its rows."""
    parser = Parser("sql", epilog=_EXAMPLES)
    parser.add_argument("query", metavar="QUERY", help="in the words of SQLite or PostgreSQL, whichever the store is")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="table by default")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    options = parser.parse_args(arguments)
    return answer(options, lambda reader: _ask(reader, options.query, "json" if options.json else options.format))


def _ask(reader: Reader, query: str, form: str) -> int:
    reader.refresh()
    try:
        columns, rows = reader.store.ask(query)
        _print(form, columns, rows)
    except QueryError as error:
        raise UsageError(f"sql: {error}") from error
    return FINE


def _print(form: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    shown = ([value.hex() if isinstance(value, bytes) else values.plain(value) for value in row] for row in rows)
    if form == "json":
        twice = next((name for number, name in enumerate(columns) if name in columns[:number]), None)
        if twice is not None:
            raise UsageError(f"sql: two columns are named {twice!a}, of which JSON keeps one; name them with AS")
        write_json((dict(zip(columns, row, strict=True)) for row in shown), sys.stdout)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([plain(value) for value in row] for row in shown)
    else:
        print_table(columns, shown)
