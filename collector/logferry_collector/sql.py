"""`logferry sql`: a query over the store, by a connection that can only read.

Views to rely on: `results` (a row per run: the fields, `config` and `metrics` as JSON, `document` whole, `file`),
`metrics` and `config` (`experiment_id`, `run_id`, `name`, `value`). Status is as stored: LOST is not known here.
"""

from __future__ import annotations

import csv
import sqlite3
import sys
from typing import Any

from logferry.cli import FINE, NO, Parser, UsageError
from logferry_collector.export import plain
from logferry_collector.output import print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.verb import answer, complain

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def sql(arguments: list[str]) -> int:
    """Run one query and print its rows."""
    parser = Parser("sql", epilog="views: results, metrics (experiment_id, run_id, name, value), config (the same)")
    parser.add_argument("query", metavar="QUERY")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    options = parser.parse_args(arguments)
    return answer(options, lambda reader: _ask(reader, options.query, "json" if options.json else options.format))


def _ask(reader: Reader, query: str, form: str) -> int:
    reader.refresh()
    connection = read_only(reader.store.url)
    try:
        cursor = connection.execute(query)
        columns = [column[0] for column in cursor.description or ()]
        _print(form, columns, cursor.fetchall())
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "I/O" in str(error):
            complain(f"store {reader.store.url}: {error}")
            return NO
        raise UsageError(f"sql: {error}") from error
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise UsageError(f"sql: {error}; only one reading query is allowed") from error
    finally:
        connection.close()
    return FINE


def read_only(path: str) -> sqlite3.Connection:
    """Open a store so that the database itself refuses whatever is no reading."""
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=10)
    connection.execute("PRAGMA query_only = ON")
    # query_only alone would still let a query attach, and so create, other files.
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
    return connection


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _print(form: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    shown = [[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows]
    if form == "json":
        print_json([dict(zip(columns, row, strict=True)) for row in shown])
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *([plain(value) for value in row] for row in shown)])
    else:
        print_table(columns, shown)
