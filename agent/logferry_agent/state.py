"""`NODE/state.db`: where each output stands, which results are due, which levels somebody set.

SQLite, WAL, `synchronous=FULL`: a commit that returned survives the machine. Tables (user_version 1)::

    outputs   one row per (experiment, run, kind): the checkpoint, see `Checkpoint`
    results   one row per (experiment, run) whose result is not settled: the newest document that passed by, the seals
              of the run's producers, and whether something is due
    levels    overrides by `logferry level`: (experiment, run or ""), level
    meta      `dispatched`: the journal position before which every output has a checkpoint; `salvage_end`: not 0 where
              one without a checkpoint may have files all the same, because an earlier database was lost

Invariants: the checkpoint of an output, and what must happen because of the records that it covers (results), are
committed together. A database that cannot be read is set aside as `state.db.bad-<time>` and begun anew; the journal
and the files then say where each output stands (see salvage.py). One of a later version is refused and not touched.

All methods block; `State.call` runs them on the database's only thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

import msgpack

from logferry.killpoints import passed
from logferry_agent.later import LaterVersionError

_VERSION = 1
_P = ParamSpec("_P")
_T = TypeVar("_T")


KINDS = ("jsonl", "text")


class Key(NamedTuple):
    """What an output is for: one rendering, of `KINDS`, of one run."""

    experiment: str
    run: str
    kind: str


class Cursor(NamedTuple):
    """How far a producer's events are in an output."""

    last: int  # the number of the last one that was rendered or marked as a gap
    lines: int  # how many were rendered


class Checkpoint(NamedTuple):
    """An output's place: all records of its run before `position` are in its files, synced.

    `name` is the current file's, None before the first and after a rotation; `inode`, and `tail`, the last bytes
    before `offset`, tell whether it is still ours. `rotating` is the name that the file is being renamed to.
    """

    experiment: str
    run: str
    kind: str
    position: int = 0
    name: str | None = None
    inode: int = 0
    offset: int = 0
    tail: bytes = b""
    variant: int = 1
    rotations: int = 0
    rotating: str | None = None
    created_ns: int = 0
    sealed_ns: int = 0
    final: bool = False
    cursors: Mapping[str, Cursor] = {}

    @property
    def key(self) -> Key:
        return Key(self.experiment, self.run, self.kind)


def without_file(saved: Checkpoint) -> Checkpoint:
    """Return a checkpoint after which the next line goes to a new file."""
    return saved._replace(name=None, inode=0, offset=0, tail=b"", created_ns=0, rotating=None)


class Unsettled(NamedTuple):
    """What is known of a run's result: the newest document that passed by, seals by producer."""

    experiment: str
    run: str
    document: dict[str, Any] | None
    seals: dict[str, dict[str, Any]]


_COLUMNS = Checkpoint._fields
_SCHEMA = f"""
CREATE TABLE outputs ({", ".join(_COLUMNS)}, PRIMARY KEY (experiment, run, kind)) WITHOUT ROWID;
CREATE INDEX outputs_open ON outputs (final, sealed_ns);
CREATE TABLE results (experiment, run, document, seals, due, PRIMARY KEY (experiment, run)) WITHOUT ROWID;
CREATE TABLE levels (experiment, run, level, PRIMARY KEY (experiment, run)) WITHOUT ROWID;
CREATE TABLE meta (key PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""


class State:
    """The open database.

    `set_aside` is where an unreadable predecessor went.

    Raises:
        LaterVersionError: a later logferry wrote it.
        sqlite3.Error: it cannot be opened now.

    """

    def __init__(self, path: Path, now_ns: int) -> None:
        self.path = path
        self.set_aside: Path | None = None
        try:
            self._db = _open(path)
        except (sqlite3.DatabaseError, msgpack.UnpackException, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise  # no space, no permission: the database itself may be well
            self.set_aside = path.with_name(f"{path.name}.bad-{now_ns // 1_000_000_000}")
            _set_aside(path, self.set_aside)
            passed("state.cleared")
            self._db = _open(path)
        self._thread = ThreadPoolExecutor(1, "logferry-state")

    async def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run one of the methods on the database's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def close(self, timeout_s: float = 5.0) -> None:
        """Close the database, unless a call into its file system hangs."""
        closed = threading.Thread(target=self._close, name="logferry-state-close", daemon=True)
        closed.start()
        closed.join(timeout_s)

    def _close(self) -> None:
        self._thread.shutdown(wait=True)
        self._db.close()

    def checkpoint(self, key: Key) -> Checkpoint | None:
        row = self._db.execute("SELECT * FROM outputs WHERE experiment = ? AND run = ? AND kind = ?", key).fetchone()
        return _checkpoint(row) if row else None

    def sealed_outputs(self, before_ns: int, now_ns: int) -> list[Checkpoint]:
        """Return the outputs that are not final and whose last seal is older than `before_ns`, or from the future."""
        sql = "SELECT * FROM outputs WHERE final = 0 AND sealed_ns > 0 AND (sealed_ns <= ? OR sealed_ns > ?)"
        rows = self._db.execute(sql, (before_ns, now_ns))
        return [_checkpoint(row) for row in rows]

    def current_files(self) -> set[tuple[str, str, str]]:
        """Return (experiment, run, name) of all files that events may still go to, or whose renaming is noted."""
        rows = self._db.execute(
            "SELECT experiment, run, name FROM outputs WHERE final = 0 AND name IS NOT NULL "
            "UNION SELECT experiment, run, rotating FROM outputs WHERE rotating IS NOT NULL"
        )
        return set(rows.fetchall())

    def dispatched(self) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'dispatched'").fetchone()
        return int(row[0]) if row else 0

    def salvage_end(self, durable: int) -> int:
        """Return the end of the journal that an earlier database knew, 0 where there was none: `durable` in a new one.

        That is noted before the first checkpoint: a crash after it must not take the other outputs for new ones.
        """
        with self._db:
            self._db.execute(
                "INSERT INTO meta SELECT 'salvage_end', ? WHERE NOT EXISTS (SELECT 1 FROM meta)", (durable,)
            )
        row = self._db.execute("SELECT value FROM meta WHERE key = 'salvage_end'").fetchone()
        return int(row[0]) if row else 0

    def commit(self, checkpoints: Iterable[Checkpoint], unsettled: Iterable[Unsettled], dispatched: int) -> None:
        """Commit checkpoints and what became due with them, all or nothing."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * len(_COLUMNS))
            rows = [_row(one) for one in checkpoints]
            self._db.executemany(f"INSERT OR REPLACE INTO outputs VALUES ({marks})", rows)  # noqa: S608 - marks only
            for one in unsettled:
                self._add_unsettled(one)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('dispatched', ?)", (dispatched,))
            passed("checkpoint.begun")

    def _add_unsettled(self, new: Unsettled) -> None:
        old = self._unsettled(new.experiment, new.run)
        document, seals = new.document, new.seals
        if old:
            seals = {**old.seals, **seals}
            document = newest(old.document, document) if document else old.document
        row = (new.experiment, new.run, msgpack.packb(document), msgpack.packb(seals), bool(new.seals))
        self._db.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "document = excluded.document, seals = excluded.seals, due = due OR excluded.due",
            row,
        )

    def _unsettled(self, experiment: str, run: str) -> Unsettled | None:
        row = self._db.execute("SELECT * FROM results WHERE experiment = ? AND run = ?", (experiment, run)).fetchone()
        return _result(row) if row else None

    def results_due(self) -> list[Unsettled]:
        return [_result(row) for row in self._db.execute("SELECT * FROM results WHERE due")]

    def settled(self, experiment: str, run: str, *, seals: int, forget: bool) -> None:
        """Note that nothing is due any more for a run, unless another seal came meanwhile."""
        found = self._unsettled(experiment, run)
        if found is None or len(found.seals) != seals:
            return
        verb = "DELETE FROM results" if forget else "UPDATE results SET due = 0"
        with self._db:
            self._db.execute(f"{verb} WHERE experiment = ? AND run = ?", (experiment, run))

    def levels(self) -> dict[tuple[str, str], int]:
        """Return the overrides: (experiment, run or "") → level."""
        return {(row[0], row[1]): row[2] for row in self._db.execute("SELECT experiment, run, level FROM levels")}

    def set_level(self, experiment: str, run: str, level: int | None) -> None:
        """Set or (None) remove an override; `run` is "" for all runs of the experiment."""
        if level is None:
            self._db.execute("DELETE FROM levels WHERE experiment = ? AND run = ?", (experiment, run))
        else:
            self._db.execute("INSERT OR REPLACE INTO levels VALUES (?, ?, ?)", (experiment, run, level))

    def forget_outputs(self, experiment: str, run: str) -> None:
        """Remove the checkpoints of a run whose files are gone."""
        with self._db:
            self._db.execute("DELETE FROM outputs WHERE experiment = ? AND run = ? AND final", (experiment, run))


def _refuse_later(path: Path) -> None:
    """Ask for the version by a connection that cannot write: closing another one may move pages about."""
    if path.exists():
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise LaterVersionError(path, version, _VERSION)


def _open(path: Path) -> sqlite3.Connection:
    _refuse_later(path)
    # The connection is made here and used on the database's thread, never on both at once.
    db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            passed("state.opened")
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise sqlite3.DatabaseError(f"version {version}, known is {_VERSION}")
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("the check of its pages failed")


def _is_damage(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def _set_aside(path: Path, target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
            passed("state.aside")


def _row(one: Checkpoint) -> tuple[Any, ...]:
    return (*one[:-1], msgpack.packb(one.cursors))


def _checkpoint(row: tuple[Any, ...]) -> Checkpoint:
    cursors = {name: Cursor(*found) for name, found in msgpack.unpackb(row[-1]).items()}
    found = Checkpoint._make(row)
    return found._replace(final=bool(found.final), cursors=cursors)


def _result(row: tuple[Any, ...]) -> Unsettled:
    return Unsettled(row[0], row[1], msgpack.unpackb(row[2]), msgpack.unpackb(row[3]))


def newest(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Return the newer of two documents of a run: by attempt, then by revision."""
    return new if old is None or age_key(new) >= age_key(old) else old


def age_key(document: Mapping[str, Any]) -> tuple[int, int]:
    attempt, revision = document.get("attempt"), document.get("revision")
    return attempt if isinstance(attempt, int) else 0, revision if isinstance(revision, int) else 0
