"""A store in PostgreSQL, for many nodes: `LOGFERRY_STORE=postgresql://host/database`.

Writers queue by an advisory lock, so that what holds for one SQLite file holds here too. A connection that breaks, even
while it commits, leaves all of a transaction or nothing; the files' versions tell which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from logferry_collector.store import QueryError, StoreDownError, StoreRefusedError, shown
from logferry_collector.store.database import ASKED
from logferry_collector.store.fragment import PARAMETER, Sql, sql
from logferry_collector.store.migrations import check_version, migrate
from logferry_collector.store.postgres_schema import STEPS
from logferry_collector.store.postgres_sql import PostgresSQL
from logferry_collector.store.projection import differing, gone

try:
    import psycopg
    from psycopg import conninfo

    from logferry_collector.store.pool import Pool
except ModuleNotFoundError as error:
    raise StoreRefusedError(f"a PostgreSQL store needs {error.name}; pip install 'logferry[postgres]'") from error

# Held by whoever writes; the second half of its name is the schema.
_WRITER = 0x10F
# A writer looks up lists by an index each time. Without statistics, which come minutes after the rows, the planner read
# and sorted the whole table for each list, and loading took the square of the rows.
_BY_INDEX = "set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
# Who is cut off must notice within a minute, however the network hides it.
_CONNECTION = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "logferry",
}
_ANSWER_MS = 60_000
# Rows that are on the way at once; libpq before 17 knows one only.
_ROWS = 500 if psycopg.pq.version() >= 170000 else 1
# Classes of SQLSTATE that no waiting mends: no such user, database, schema or permission.
_REFUSED = ("28", "3D", "3F", "42501", "42P07")
# Rows of one size are copied faster than they are inserted; a few are not.
_COPY_FROM_ROWS = 20


class Postgres(PostgresSQL):
    """One database; connections come from a pool, so that what is read does not wait for what is written.

    Raises:
        StoreRefusedError: the URL cannot be used, or a later version wrote the store.
        StoreDownError: it cannot be reached now.

    """

    def __init__(self, url: str) -> None:
        self.url = shown(url)
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            raise StoreRefusedError(f"store {self.url}: {_first_line(error)}; mend LOGFERRY_STORE") from error
        info = conninfo.make_conninfo("", **{**_CONNECTION, **given})
        self._pool = Pool(info)
        try:
            with self._reaching(), self._pool.connection() as connection:
                self._migrate(connection)
        except BaseException:
            self._pool.close()
            raise

    def _migrate(self, connection: psycopg.Connection[Any]) -> None:
        if check_version(_version(connection), STEPS, f"store {self.url}"):
            return
        with _transaction(connection) as session:
            found = _version(connection)
            check_version(found, STEPS, f"store {self.url}")
            migrate(session, found, STEPS)
            session.run(Sql("CREATE TABLE IF NOT EXISTS logferry_version (version BIGINT NOT NULL)"))
            session.run(Sql("DELETE FROM logferry_version"))
            session.run(sql("INSERT INTO logferry_version VALUES (?)", len(STEPS)))

    @contextmanager
    def writing(self) -> Iterator[_Session]:
        with self._reaching(), self._pool.connection() as connection, _transaction(connection) as session:
            yield session

    def rows(self, statement: Sql) -> Iterator[tuple[Any, ...]]:
        with self._reaching(), self._pool.connection() as connection, connection.cursor() as cursor:
            yield from cursor.stream(_text(statement), statement.bound, size=_ROWS)

    def ask(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        rows = self._answers(query)
        return next(rows), rows

    def _answers(self, query: str) -> Iterator[Any]:
        """Yield the names of the columns, then the rows."""
        with self._reaching(), self._pool.connection() as connection, connection.cursor() as cursor:
            try:
                cursor.execute("BEGIN READ ONLY")
                cursor.execute(f"SET LOCAL statement_timeout = {_ANSWER_MS:d}")
                # Prepared, so that it is one statement; a cursor, so that it is a query.
                cursor.execute(f"DECLARE answer NO SCROLL CURSOR FOR {query}".encode(), prepare=True)
                cursor.execute("FETCH 500 FROM answer")
                yield [column.name for column in cursor.description or ()]
                while rows := cursor.fetchall():
                    yield from rows
                    cursor.execute("FETCH 500 FROM answer")
            except psycopg.errors.QueryCanceled as error:
                raise QueryError(f"took longer than {_ANSWER_MS // 1000} s") from error
            except (psycopg.OperationalError, psycopg.InterfaceError):
                raise
            except psycopg.Error as error:
                raise QueryError(_first_line(error)) from error
            finally:
                if not connection.closed:
                    connection.rollback()

    def indexes(self, prefix: str) -> list[str]:
        here = sql("relnamespace = current_schema()::regnamespace AND starts_with(relname, ?)", prefix)
        # What others made as a table may be closed to who reads `result`.
        usable = "relkind = 'i' OR relkind = 'r' AND has_table_privilege(oid, 'SELECT')"
        return [
            name
            for (name,) in self.rows(sql(f"SELECT relname FROM pg_class WHERE ? AND ({usable}) ORDER BY oid", here))
        ]

    def drop_index(self, name: str) -> None:
        with self.writing() as session:
            # Dropping waits for all who read, and all who come later for it; one of them may be the one who asks.
            session.run(Sql("LOCK TABLE result IN ACCESS EXCLUSIVE MODE NOWAIT"))
            # Where another writer dropped it first, the search path may know one of that name, which is not ours.
            here = sql("relnamespace = current_schema()::regnamespace AND relname = ?", name)
            for (is_table,) in session.run(sql("SELECT relkind = 'r' FROM pg_class WHERE ?", here)):
                if not is_table:
                    session.run(Sql(f'DROP INDEX "{name}"'))
                    continue
                session.run(Sql(f'LOCK TABLE "{name}" IN ACCESS EXCLUSIVE MODE NOWAIT'))
                for statement in gone(name):
                    session.run(statement)

    def check(self) -> None:
        for _ in self.rows(Sql("SELECT 1 FROM logferry_version")):
            return
        raise StoreDownError(f"store {self.url}: its tables are gone")

    def damage(self) -> list[str]:
        """Return which tables of groups are not what `result` has; a server checks its own files."""
        found: list[str] = []
        body = "(SELECT prosrc FROM pg_proc p WHERE p.proname = c.relname AND p.pronamespace = c.relnamespace)"
        for name in self.indexes(ASKED):
            one = sql("relname = ? AND relkind = 'r' AND relnamespace = current_schema()::regnamespace", name)
            for (made_by,) in self.rows(sql(f"SELECT {body} FROM pg_class c WHERE ?", one)):
                count = next(self.rows(differing(name, made_by)))[0] if made_by else "all"
                if count:
                    found.append(f"{count} rows of table {name}, of which groups are made, are not as the results are")
        return found

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the errors of PostgreSQL into the store's own."""
        try:
            yield
        except psycopg.errors.InvalidRegularExpression as error:
            raise QueryError(_first_line(error)) from error
        except (psycopg.Error, OSError) as error:
            state = getattr(error, "sqlstate", None) or ""
            kind = StoreRefusedError if state.startswith(_REFUSED) or _is_refusal(error) else StoreDownError
            raise kind(f"store {self.url}: {_first_line(error)}") from error


class _Session:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def run(self, statement: Sql) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(_text(statement), statement.bound)
        return cursor.fetchall() if cursor.description else []

    def insert(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        rest = iter(rows)
        first = list(islice(rest, _COPY_FROM_ROWS))
        with self._connection.cursor() as cursor:
            if len(first) < _COPY_FROM_ROWS:
                places = ",".join(["%s"] * (columns.count(",") + 1))
                cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})".encode(), first)
                return
            # The server puts rows in while later ones are made here.
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                for row in chain(first, rest):
                    copy.write_row(row)

    def note(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            places = ",".join(["%s"] * len(rows[0]))
            with self._connection.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {table} VALUES ({places}) ON CONFLICT DO NOTHING".encode(), rows)


@contextmanager
def _transaction(connection: psycopg.Connection[Any]) -> Iterator[_Session]:
    with connection.transaction():
        connection.execute(
            f"SELECT pg_advisory_xact_lock(%s, hashtext(current_schema())), {_BY_INDEX}".encode(), [_WRITER]
        )
        yield _Session(connection)


def _version(connection: psycopg.Connection[Any]) -> int:
    # Read as data: what a connection remembers of names may be older than the lock that it waited for.
    named = "relname = 'logferry_version' AND relnamespace = current_schema()::regnamespace"
    if not connection.execute(f"SELECT 1 FROM pg_class WHERE {named}".encode()).fetchone():
        return 0
    found = connection.execute("SELECT version FROM logferry_version").fetchone()
    return int(found[0]) if found else 0


def _text(statement: Sql) -> bytes:
    return statement.text.replace("%", "%%").replace(PARAMETER, "%s").encode()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _is_refusal(error: BaseException) -> bool:
    """Say whether a connection was refused for good; libpq keeps the SQLSTATE of that to itself."""
    return bool(re.search(r"FATAL: .*(?:authentication failed|does not exist|no pg_hba.conf entry)", str(error)))
