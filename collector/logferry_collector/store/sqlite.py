"""The default store: one SQLite file (tables and invariants: migrations.py; reading: sqlite_reader.py).

Write-ahead logging, so that readers never wait; writers queue by `BEGIN IMMEDIATE` and a busy timeout. A commit may be
undone by a power cut (`synchronous=NORMAL`), rows and cursor together, so that the files are simply read again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logferry.layout import filesystem_type, is_network
from logferry.results import finite
from logferry_collector.records import Fault, FileState, Intake, Record, Reject, Stamp
from logferry_collector.store import StoreDownError, StoreRefusedError
from logferry_collector.store.catalogue import Catalogue
from logferry_collector.store.migrations import migrate
from logferry_collector.store.sqlite_reader import SQLiteReader, reaching
from logferry_collector.store.winner import Candidate, metrics_of, winner_of

_FILE = 'path, version, device, inode, size, mtime_ns, ctime_ns, "offset", marker, lines'
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_NO_SIZE = (1 << 63) - 1
# Runs whose visible row is to be made anew, with the row that was just put in, if one was.
_Touched = dict[tuple[str, str], tuple[int, dict[str, Any]] | None]


class SQLite(SQLiteReader):
    """The store in one file; one object per thread.

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
        with reaching(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
        try:
            with reaching(path):
                migrate(connection, str(path), busy_s)
                connection.execute("PRAGMA synchronous = NORMAL")
                self._identity = _identity(path)
        except BaseException:
            connection.close()
            raise
        super().__init__(connection, path)
        self._catalogue = Catalogue(connection)

    def check(self) -> None:
        with reaching(self.path):
            if _identity(self.path) != self._identity:
                raise StoreDownError(f"store {self.path}: was replaced while it was open")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Take the one place of the writer; nothing stays when anything fails."""
        with reaching(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._catalogue.forget()
                # A full disk makes SQLite roll back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def stamps(self) -> dict[str, Stamp]:
        with reaching(self.path):
            rows = self._connection.execute("SELECT path, device, inode, size, mtime_ns, ctime_ns FROM file")
            return {path: Stamp(*stamp) for path, *stamp in rows}

    def files(self, paths: Sequence[str]) -> dict[str, FileState]:
        sql = f"SELECT {_FILE} FROM file WHERE path IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
        with reaching(self.path):
            return {row[0]: _state(row) for row in self._connection.execute(sql, [json.dumps(list(paths))])}

    def files_of_inode(self, stamp: Stamp) -> list[FileState]:
        # Thousands of hard links have one inode; a renamed file has one old name.
        sql = f"SELECT {_FILE} FROM file WHERE inode = ? AND device = ? LIMIT 16"  # noqa: S608 - constants
        with reaching(self.path):
            return [_state(row) for row in self._connection.execute(sql, [stamp.inode, stamp.device])]

    def commit(self, intakes: Sequence[Intake]) -> list[bool]:
        touched: _Touched = {}
        with self._transaction():
            held = [self._take(intake, touched) for intake in intakes]
            for (experiment_id, run_id), newest in touched.items():
                self._show(experiment_id, run_id, *(newest or (0, {})))
        return held

    def drop_rejects(self, paths: Sequence[str]) -> None:
        with self._transaction():
            for path in paths:
                file = self._connection.execute("SELECT id FROM file WHERE path = ?", [path]).fetchone()
                if file:
                    self._connection.execute("DELETE FROM reject WHERE file = ?", file)
                    # No file has this size: the cursor, by which a renamed file is known, stays.
                    self._connection.execute("UPDATE file SET size = ? WHERE id = ?", [_NO_SIZE, *file])
                    self._connection.execute(
                        "DELETE FROM file WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM candidate WHERE file = ?1)", file
                    )

    def _take(self, intake: Intake, touched: _Touched) -> bool:
        state = intake.state
        found = self._connection.execute("SELECT id, version FROM file WHERE path = ?", [state.path]).fetchone()
        if (found[1] if found else 0) != state.version - 1:
            return False
        if intake.renamed_from:
            self._remove_file(intake.renamed_from, touched)
        file = self._put_file(state, found[0] if found else None)
        if found:
            self._void(file, intake.rows_after, touched)
        rejects = list(intake.rejects)
        for record in intake.records:
            earlier = record.ordinal > 1 and self._earlier_line(file, record)
            if earlier:
                rejects.append(_duplicate(record, earlier))
                continue
            row = self._put_row(file, state.stamp.mtime_ns, record)
            touched[record.experiment_id, record.run_id] = (row, record.document)
        self._connection.executemany(
            "INSERT OR REPLACE INTO reject VALUES (?, ?, ?, ?)",
            [(file, reject.line, reject.fault.value, storable(reject.reason)) for reject in rejects],
        )
        return True

    def _earlier_line(self, file: int, record: Record) -> int:
        """Return the line of the same file that has the same run in no lesser revision, or 0."""
        # The plus keeps SQLite from looking through all rows of the file, which grows with the square of their number.
        found = self._connection.execute(
            "SELECT ordinal FROM candidate WHERE experiment_id = ? AND run_id = ? AND +file = ? AND revision >= ?",
            [record.experiment_id, record.run_id, file, record.revision],
        ).fetchone()
        return int(found[0]) if found else 0

    def _put_file(self, state: FileState, known: int | None) -> int:
        values = [state.path, state.version, *state.stamp, state.offset, state.marker, state.lines]
        if known is None:
            sql = f"INSERT INTO file ({_FILE}) VALUES (?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constants
            return int(self._connection.execute(sql, values).lastrowid or 0)
        sql = f"UPDATE file SET ({_FILE}) = (?,?,?,?,?,?,?,?,?,?) WHERE id = ?"  # noqa: S608 - constants
        self._connection.execute(sql, [*values, known])
        return known

    def _void(self, file: int, rows_after: int | None, touched: _Touched) -> None:
        """Remove what an intake replaces."""
        if rows_after is None:
            self._connection.execute("DELETE FROM reject WHERE file = ? AND line = 0", [file])
            return
        self._connection.execute("DELETE FROM reject WHERE file = ? AND (line = 0 OR line > ?)", [file, rows_after])
        gone = self._connection.execute(
            "DELETE FROM candidate WHERE file = ? AND ordinal > ? RETURNING experiment_id, run_id", [file, rows_after]
        )
        touched.update(dict.fromkeys(gone.fetchall()))

    def _remove_file(self, path: str, touched: _Touched) -> None:
        found = self._connection.execute("SELECT id FROM file WHERE path = ?", [path]).fetchone()
        if found:
            self._void(found[0], -1, touched)
            self._connection.execute("DELETE FROM file WHERE id = ?", found)

    def _put_row(self, file: int, mtime_ns: int, record: Record) -> int:
        self._catalogue.add(record.document)
        cursor = self._connection.execute(
            "INSERT INTO candidate (file, ordinal, experiment_id, run_id, part, revision, mtime_ns, document) "
            "VALUES (?,?,?,?,?,?,?,?)",
            [
                *(file, record.ordinal, record.experiment_id, record.run_id, record.part, record.revision, mtime_ns),
                dumped(record.document),
            ],
        )
        return int(cursor.lastrowid or 0)

    def _show(self, experiment_id: str, run_id: str, newest: int, document: dict[str, Any]) -> None:
        """Make the visible row of a run anew from its candidates; the document of the newest is at hand."""
        rows = self._connection.execute(
            "SELECT id, part, revision, mtime_ns, CASE WHEN id != ? THEN document END FROM candidate "
            "WHERE experiment_id = ? AND run_id = ?",
            [newest, experiment_id, run_id],
        )
        candidates = [
            Candidate(id_, part, revision, mtime_ns, json.loads(text) if text else document)
            for id_, part, revision, mtime_ns, text in rows
        ]
        if not candidates:
            self._connection.execute(
                "DELETE FROM result WHERE experiment_id = ? AND run_id = ?", [experiment_id, run_id]
            )
            return
        winner = winner_of(candidates)
        document = winner.document
        self._connection.execute(
            "INSERT OR REPLACE INTO result VALUES (?,?,?,?,?,?,?,?)",
            [
                *(experiment_id, run_id, winner.id, _text(document.get("status")), _text(document.get("host"))),
                *(winner.mtime_ns, dumped(document.get("config") or {}), dumped(metrics_of(candidates))),
            ],
        )


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _duplicate(record: Record, line: int) -> Reject:
    run = f"run {record.experiment_id}/{record.run_id}"
    return Reject(
        record.ordinal,
        Fault.DUPLICATE,
        f"{run} stands on line {line} already; a higher revision, or a run_id of its own, lets both stand",
    )


def _state(row: Sequence[Any]) -> FileState:
    path, version, *stamp = row[:7]
    return FileState(path, version, Stamp(*stamp), *row[7:])


def dumped(value: Any) -> str:
    """Return compact JSON that SQLite can keep: a lone surrogate stays the escape that it was."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # a number beyond the range of floats was read as infinite
        text = _ENCODER.encode(finite(value))
    return storable(text)


def storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _text(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) else None
