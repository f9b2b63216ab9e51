"""The default store: one SQLite file.

Write-ahead logging, so that readers never wait; writers queue by `BEGIN IMMEDIATE` and a busy timeout. A commit may be
undone by a power cut (`synchronous=NORMAL`), rows and cursor together, so that the files are simply read again.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from logferry.killpoints import passed
from logferry.layout import filesystem_type, is_network
from logferry_collector.store import QueryError, StoreDownError, StoreRefusedError
from logferry_collector.store.fragment import PARAMETER, Sql, sql
from logferry_collector.store.migrations import check_version, migrate
from logferry_collector.store.sqlite_schema import STEPS
from logferry_collector.store.sqlite_sql import SQLiteSQL

_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


class SQLite(SQLiteSQL):
    """One file; one object per thread.

    Raises:
        StoreRefusedError: it would lie on a network file system, or a later version wrote it.
        StoreDownError: it cannot be opened now.

    """

    def __init__(self, path: Path, busy_s: float) -> None:
        kind = filesystem_type(path)
        if is_network(kind):
            raise StoreRefusedError(
                f"store {path} is on a network file system ({kind}), where SQLite corrupts; "
                "set LOGFERRY_STORE to a file on a local disk"
            )
        self.path, self._busy_s = path, busy_s
        with self._reaching():
            path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        with self._reaching():
            self._still: os.stat_result | None = None
            self.connection = self._connected(self._busy_s)
        try:
            self._migrate()
            with self._reaching():
                self.connection.execute("PRAGMA synchronous = NORMAL")
                self._identity = _identity(self.path)
        except BaseException:
            self.connection.close()
            raise
        # A lone surrogate in a document is JSON, and no UTF-8 once SQLite has taken it out of there.
        self.connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        self.connection.create_function("regexp", 2, _found, deterministic=True)

    @property
    def url(self) -> str:
        return str(self.path)

    def _connected(self, busy_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=busy_s, isolation_level=None)
        try:
            _use_wal(connection, busy_s)
        except sqlite3.OperationalError as error:
            connection.close()
            if (
                error.sqlite_errorcode & 0xFF not in _UNWRITABLE
                or not self.path.exists()
                or _log_of(self.path).exists()
            ):
                raise
            # SQLite keeps its log beside the file. Who may not write there reads the file as it lies, while it does.
            self._still = self.path.stat()
            return sqlite3.connect(f"file:{_quoted(self.path)}?immutable=1", uri=True, isolation_level=None)
        return connection

    def _lies_still(self) -> bool:
        """Say whether what is read as it lies is as it was when it was opened."""
        if self._still is None:
            return True
        now = self.path.stat()
        same = (now.st_mtime_ns, now.st_size) == (self._still.st_mtime_ns, self._still.st_size)
        return same and not _log_of(self.path).exists()

    def _see_what_lies_there(self) -> None:
        if not self._lies_still():
            self.connection.close()
            self._open()

    def _check_still(self) -> None:
        if not self._lies_still():
            raise StoreDownError(f"store {self.path}: was written to while it was read; ask again")

    def _migrate(self) -> None:
        with self._reaching():
            if check_version(self._version(), STEPS, f"store {self.path}"):
                return
        with self.writing() as session:
            passed("migrate.begun")
            found = self._version()
            check_version(found, STEPS, f"store {self.path}")
            migrate(session, found, STEPS)
            passed("migrate.stepped")
            self.connection.execute(f"PRAGMA user_version = {len(STEPS):d}")
        passed("migrate.done")

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def writing(self) -> Iterator[_Session]:
        with self._reaching():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield _Session(self.connection)
                self.connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def rows(self, statement: Sql) -> Iterator[tuple[Any, ...]]:
        with self._reaching():
            self._see_what_lies_there()
            # `yield from` closes what it reads from when nobody reads on, also where the connection is closed already.
            for row in self.connection.execute(_text(statement), statement.bound):  # noqa: UP028
                yield row
            self._check_still()

    def ask(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        with self._reaching():
            self._see_what_lies_there()
        how = "mode=ro" if self._still is None else "immutable=1"
        connection = sqlite3.connect(f"file:{_quoted(self.path)}?{how}", uri=True, timeout=10)
        connection.execute("PRAGMA query_only = ON")
        # query_only alone would still let a query attach, and so create, other files.
        connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
        rows = self._answers(connection, query)
        return next(rows), rows

    def _answers(self, connection: sqlite3.Connection, query: str) -> Iterator[Any]:
        """Yield the names of the columns, then the rows."""
        try:
            cursor = connection.execute(query)
            yield [column[0] for column in cursor.description or ()]
            yield from cursor
            self._check_still()
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "I/O" in str(error):
                raise StoreDownError(f"store {self.path}: {error}") from error
            raise QueryError(str(error)) from error
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise QueryError(f"{error}; only one reading query is allowed") from error
        finally:
            connection.close()

    def indexes(self, prefix: str) -> list[str]:
        made = sql("type = 'index' AND substr(name, 1, ?) = ?", len(prefix), prefix)
        return [name for (name,) in self.rows(sql("SELECT name FROM sqlite_master WHERE ? ORDER BY rowid", made))]

    def drop_index(self, name: str) -> None:
        # A question that is open on this connection would forbid it, and fail when it is taken back.
        with self._reaching(), closing(sqlite3.connect(self.path, timeout=0)) as another:
            another.execute(f'DROP INDEX IF EXISTS "{name}"')

    def check(self) -> None:
        with self._reaching():
            if _identity(self.path) != self._identity:
                raise StoreDownError(f"store {self.path}: was replaced while it was open")

    def damage(self) -> list[str]:
        found = [text for (text,) in self.rows(Sql("PRAGMA integrity_check(20)"))]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the errors of SQLite and of the file system into the store's own."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
                raise StoreRefusedError(
                    f"store {self.path}: {error}; move it away with its -wal and -shm, and it is made anew from the "
                    "result files"
                ) from error
            raise StoreDownError(f"store {self.path}: {error}") from error
        except OSError as error:
            raise StoreDownError(f"store {self.path}: {error.strerror}") from error


class _Session:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: Sql) -> list[tuple[Any, ...]]:
        return self._connection.execute(_text(statement), statement.bound).fetchall()

    def insert(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        places = ",".join("?" * (columns.count(",") + 1))
        self._connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)

    def note(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})", row)


def _text(statement: Sql) -> str:
    return statement.text.replace(PARAMETER, "?")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _found(pattern: str, value: Any) -> bool | None:
    """SQLite's operator REGEXP, which it leaves to programs."""
    return re.search(pattern, value) is not None if isinstance(value, str) else None


def _use_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    """Switch to write-ahead logging; SQLite does not wait for a lock here by itself."""
    deadline = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if time.monotonic() > deadline or error.sqlite_errorcode & 0xFF in _UNWRITABLE:
                raise
            time.sleep(0.01)
        else:
            return
