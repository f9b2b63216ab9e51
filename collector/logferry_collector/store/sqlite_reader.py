"""The reading side of the SQLite store; SQL for queries is in sqlite_sql.py."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from logferry_collector.records import Fault, Reject
from logferry_collector.store import StoreDownError, StoreRefusedError
from logferry_collector.store.sqlite_sql import FROM, MAPS, RUN_ID, STATUS, json_path, ordered, source, status, tail_of
from logferry_collector.where import Key, Query

# Below this a scan is as fast as an index, and most homes stay below it.
_INDEX_FROM_ROWS = 2_000
# Each index costs every later write; what nobody asks for often has no right to one.
_MAX_INDEXES = 24
_INDEX = "asked_"


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into the store's own."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise StoreRefusedError(
                f"store {path}: {error}; move it away with its -wal and -shm, and it is made anew from the result files"
            ) from error
        raise StoreDownError(f"store {path}: {error}") from error
    except OSError as error:
        raise StoreDownError(f"store {path}: {error.strerror}") from error


class SQLiteReader:
    """Answers queries over one connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        # A lone surrogate in a document is JSON, and no UTF-8 once SQLite has taken it out of there.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        connection.create_function("regexp", 2, _found, deterministic=True)

    @property
    def url(self) -> str:
        return str(self.path)

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        with reaching(self.path):
            yield from self._connection.execute(sql, parameters)

    def keys(self) -> list[Key]:
        rows = self._rows("SELECT section, path FROM key ORDER BY section, name")
        return [Key(section, tuple(json.loads(path))) for section, path in rows]

    def documents(self, query: Query) -> Iterator[dict[str, Any]]:
        shown_status, before = status(query)
        tail, parameters = tail_of(query)
        sql = f"SELECT c.document, r.metrics, {shown_status} {FROM} {tail}"
        for text, metrics, state in self._rows(sql, [*before, *parameters]):
            document: dict[str, Any] = json.loads(text)
            if metrics != "{}":
                document["metrics"] = json.loads(metrics)
            if state == "LOST":
                document["status"] = state
            yield document

    def values(self, query: Query, keys: Sequence[Key]) -> Iterator[tuple[Any, ...]]:
        # Maps come whole and are taken apart here: a statement has room for 2,000 columns only, and SQLite would give
        # true as 1 and a long integer as a float.
        sources = list(dict.fromkeys(map(source, keys))) or [RUN_ID]
        places = [(sources.index(source(key)), key.path) for key in keys]
        shown_status, before = status(query)
        columns = [shown_status if name == STATUS else name for name in sources]
        tail, parameters = tail_of(query)
        bound = before if STATUS in sources else []
        for row in self._rows(f"SELECT {', '.join(columns)} {FROM} {tail}", [*bound, *parameters]):
            found = [json.loads(value) if name in MAPS else value for name, value in zip(sources, row, strict=True)]
            yield tuple(_below(found[place], path) for place, path in places)

    def runs_like(self, text: str) -> list[tuple[str, str]]:
        experiment, slash, run = text.rpartition("/")
        scope, bound = ("experiment_id = ? AND ", [experiment]) if slash else ("", [])
        select = f"SELECT experiment_id, run_id FROM result WHERE {scope}"  # noqa: S608 - constants
        exact = list(self._rows(f"{select} run_id = ? ORDER BY 1", [*bound, run]))
        if exact or not run:
            return exact
        ends = "(substr(run_id, 1, length(?)) = ? OR substr(run_id, -length(?)) = ?)"
        return list(self._rows(f"{select} {ends} ORDER BY 1, 2", [*bound, run, run, run, run]))

    def files_of_run(self, experiment_id: str, run_id: str) -> list[tuple[str, bool, bool]]:
        rows = self._rows(
            "SELECT f.path, c.part, c.id = r.candidate FROM candidate c JOIN file f ON f.id = c.file "
            "JOIN result r USING (experiment_id, run_id) WHERE r.experiment_id = ? AND r.run_id = ? "
            "ORDER BY c.id = r.candidate DESC, c.part, c.revision DESC, c.mtime_ns DESC, c.id DESC",
            [experiment_id, run_id],
        )
        return [(path, bool(part), bool(winner)) for path, part, winner in rows]

    def running_hosts(self) -> list[str]:
        return [host for (host,) in self._rows("SELECT DISTINCT host FROM result WHERE status = 'RUNNING'") if host]

    def rejects(self) -> list[tuple[str, Reject]]:
        rows = self._rows(
            "SELECT f.path, j.line, j.fault, j.reason FROM reject j JOIN file f ON f.id = j.file ORDER BY 1, 2"
        )
        return [(path, Reject(line, Fault(fault), reason)) for path, line, fault, reason in rows]

    def counts(self) -> tuple[int, int]:
        (found,) = self._rows("SELECT (SELECT count(*) FROM result), (SELECT count(*) FROM reject)")
        return found[0], found[1]

    def prepare(self, keys: Sequence[Key]) -> None:
        """Make an index for each key of a configuration or metric that is asked for."""
        # It is speed only: who may not write, or finds the store busy, goes without.
        with suppress(sqlite3.Error, StoreDownError):
            wanted = {_index_name(key): key for key in keys if key.section != "field"}
            there = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'index'")}
            room = _MAX_INDEXES - sum(name.startswith(_INDEX) for name in there)
            missing = [key for name, key in wanted.items() if name not in there][: max(0, room)]
            if missing and self.counts()[0] >= _INDEX_FROM_ROWS:
                for key in missing:
                    self._connection.execute(
                        f'CREATE INDEX IF NOT EXISTS "{_index_name(key)}" ON result ({ordered(key, alias="")})'
                    )

    def close(self) -> None:
        self._connection.close()


def _found(pattern: str, value: Any) -> bool | None:
    """SQLite's operator REGEXP, which it leaves to programs."""
    return re.search(pattern, value) is not None if isinstance(value, str) else None


def _below(value: Any, path: Sequence[str]) -> Any:
    """Return what lies at a path of a map; a column's value is the value itself."""
    if not isinstance(value, dict):
        return value
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _index_name(key: Key) -> str:
    # The path may hold any sign; its checksum is a name. Keys of one checksum share an index: only slower.
    return f"{_INDEX}{key.section}_{zlib.crc32(json_path(key.path).encode()):08x}"
