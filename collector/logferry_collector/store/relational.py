"""A store in a database that speaks SQL: the reading side; writing is in writing.py, queries as SQL in query_sql.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from logferry.killpoints import passed
from logferry_collector.records import Fault, FileState, Intake, Reject, Role, Stamp
from logferry_collector.store.catalogue import Catalogue
from logferry_collector.store.database import Database
from logferry_collector.store.fragment import Sql, sql
from logferry_collector.store.indexes import Indexes
from logferry_collector.store.means import MAX_METRICS, means, single
from logferry_collector.store.query_sql import FROM, QuerySQL
from logferry_collector.store.writing import FILE, Writing, forget_rejects
from logferry_collector.where import Key, Query


class Relational:
    """Implements `Store` on top of a database; used by one thread at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._catalogue = Catalogue()
        self._indexes = Indexes(database)

    @property
    def url(self) -> str:
        return self.database.url

    # Writing
    def stamps(self) -> dict[str, Stamp]:
        rows = self.database.rows(Sql("SELECT path, device, inode, size, mtime_ns, ctime_ns FROM file"))
        return {path: Stamp(*stamp) for path, *stamp in rows}

    def files(self, paths: Sequence[str]) -> dict[str, FileState]:
        wanted = self.database.listed({"path": "text"}, [(path,) for path in paths])
        return {state.path: state for state in self._states(sql("path IN (SELECT path FROM ? AS v)", wanted))}

    def inodes(self, some: Sequence[int]) -> set[int]:
        wanted = self.database.listed({"inode": "bigint"}, [(inode,) for inode in some])
        rows = self.database.rows(sql("SELECT inode FROM file WHERE inode IN (SELECT inode FROM ? AS v)", wanted))
        return {inode for (inode,) in rows}

    def files_of_inode(self, stamp: Stamp) -> list[FileState]:
        # Thousands of hard links have one inode; a renamed file has one old name.
        return self._states(sql("inode = ? AND device = ? LIMIT 16", stamp.inode, stamp.device))

    def beside_hidden(self, runs: Sequence[tuple[str, str]]) -> list[FileState]:
        wanted = self.database.listed({"e": "text", "r": "text"}, runs)
        of_run = "experiment_id = v.e AND {}.run_id = v.r"
        rows = sql(f"? AS v JOIN candidate c ON c.{of_run.format('c')} AND c.part != ?", wanted, Role.RESULT)
        shown = f"SELECT 1 FROM result r WHERE r.{of_run.format('r')}"
        return self._states(sql(f"id IN (SELECT c.file FROM ? WHERE NOT EXISTS ({shown}))", rows))

    def _states(self, which: Sql) -> list[FileState]:
        rows = self.database.rows(sql(f"SELECT {FILE} FROM file WHERE ?", which))
        return [
            FileState(path, version, Stamp(*stamp), offset, bytes(marker), lines)
            for path, version, *stamp, offset, marker, lines in rows
        ]

    def commit(self, intakes: Sequence[Intake]) -> list[bool]:
        try:
            with self.database.writing() as session:
                passed("ingest.begun")
                held = Writing(self.database, session, self._catalogue).take(intakes)
                passed("ingest.taken")
        except BaseException:
            self._catalogue.forget()
            raise
        passed("ingest.committed")
        return held

    def drop_rejects(self, paths: Sequence[str]) -> None:
        with self.database.writing() as session:
            forget_rejects(session, self.database.listed({"path": "text"}, [(path,) for path in paths]))

    def forget(self) -> None:
        """Trust the database only: what was known of it has changed."""
        self._catalogue.forget()

    # Reading
    def keys(self) -> list[Key]:
        rows = self.database.rows(Sql("SELECT section, path FROM key"))
        return sorted(Key(section, tuple(json.loads(path))) for section, path in rows)

    def documents(self, query: Query) -> Iterator[dict[str, Any]]:
        made = QuerySQL(self.database, query)
        table = sql("result r ?JOIN candidate c ON c.id = r.candidate", self._indexes.serve(query))
        statement = sql("SELECT c.document, r.merged, ? FROM ??", made.status(), table, made.tail())
        for text, merged, status in self.database.rows(statement):
            document: dict[str, Any] = json.loads(text)
            if merged is not None:
                document |= json.loads(merged)
            if status == "LOST":
                document["status"] = status
            yield document

    def values(self, query: Query, keys: Sequence[Key]) -> Iterator[tuple[Any, ...]]:
        # Taken apart here: a statement has room for 2,000 columns only, and no database gives back what it was given.
        for document in self.documents(query):
            yield tuple(
                _below(document if key.section == "field" else document.get(key.section), key.path) for key in keys
            )

    def means(
        self, query: Query, keys: Sequence[Key], over: Key | None, metrics: Sequence[Key]
    ) -> Iterator[tuple[Any, ...]]:
        if len(metrics) <= MAX_METRICS and query.limit is None:
            yield from means(self.database, self._indexes, query, keys, over, metrics)
            return
        wanted = [*keys, *([over] if over else []), *metrics]
        for row in self.values(query, wanted):
            head, figures = row[: len(wanted) - len(metrics)], row[len(wanted) - len(metrics) :]
            yield (*head, *(() if over else (None,)), *map(single, figures))

    def count(self, query: Query) -> int:
        made = QuerySQL(self.database, query)
        statement = sql("SELECT count(*) FROM (SELECT 1 ???) AS found", FROM, made.where(), made.limit())
        ((found,),) = self.database.rows(statement)
        return found  # type: ignore[no-any-return]

    def runs_like(self, text: str) -> list[tuple[str, str]]:
        experiment, slash, run = text.rpartition("/")
        scope = sql("experiment_id = ? AND ", experiment) if slash else Sql("")
        select = "SELECT experiment_id, run_id FROM result WHERE ?"
        exact = list(self.database.rows(sql(f"{select}run_id = ? ORDER BY 1", scope, run)))
        if exact or not run:
            return exact
        first = sql("substr(run_id, 1, ?) = ?", len(run), run)
        last = sql("(length(run_id) >= ? AND substr(run_id, length(run_id) - ?) = ?)", len(run), len(run) - 1, run)
        return list(self.database.rows(sql(f"{select}(? OR ?) ORDER BY 1, 2", scope, first, last)))

    def files_of_run(self, experiment_id: str, run_id: str) -> list[tuple[str, bool, bool]]:
        rows = self.database.rows(
            sql(
                "SELECT f.path, c.part, c.id = r.candidate FROM candidate c JOIN file f ON f.id = c.file "
                "JOIN result r ON r.experiment_id = c.experiment_id AND r.run_id = c.run_id "
                "WHERE c.experiment_id = ? AND c.run_id = ? "
                "ORDER BY c.id = r.candidate DESC, c.part, c.revision DESC, c.mtime_ns DESC, c.id DESC",
                experiment_id,
                run_id,
            )
        )
        return [(path, bool(part), bool(winner)) for path, part, winner in rows]

    def running_hosts(self) -> list[str]:
        rows = self.database.rows(Sql("SELECT DISTINCT host FROM result WHERE status = 'RUNNING'"))
        return [host for (host,) in rows if host]

    def rejects(self) -> list[tuple[str, Reject]]:
        rows = self.database.rows(
            Sql("SELECT f.path, j.line, j.fault, j.reason FROM reject j JOIN file f ON f.id = j.file ORDER BY 1, 2")
        )
        return [(path, Reject(line, Fault(fault), reason)) for path, line, fault, reason in rows]

    def counts(self) -> tuple[int, int]:
        rows = self.database.rows(Sql("SELECT (SELECT count(*) FROM result), (SELECT count(*) FROM reject)"))
        ((results, rejects),) = rows
        return results, rejects

    def ask(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        return self.database.ask(query)

    def check(self) -> None:
        self.database.check()

    def close(self) -> None:
        self.database.close()


def _below(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
