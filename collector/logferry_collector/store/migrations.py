"""The SQLite store's tables, as numbered steps from an empty file to the present version.

Tables (the views are what users may rely on; see `logferry sql`)::

    file       one row per result file: stamp, cursor, version (see records.FileState)
    candidate  one row per row of a file: `document` is the JSON as it was read, ids filled in
    result     what is shown of each (experiment_id, run_id): the winning candidate, with `metrics` merged from parts
    reject     what was refused: file, line (0: all of it), fault, reason
    key        names that occur in documents: (section, name, path); never shrinks

Invariants: `user_version` is the number of steps done, and is committed with them; `result` is a function of
`candidate`: the candidate with the greatest (not a part, revision, mtime_ns, id) wins.
"""

from __future__ import annotations

import sqlite3
import time

from logferry_collector.store import StoreRefusedError

_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE file (
            id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
            device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
            "offset" INTEGER NOT NULL, marker BLOB NOT NULL, lines INTEGER NOT NULL)""",
        "CREATE INDEX file_inode ON file (inode, device)",
        """CREATE TABLE candidate (
            id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES file (id), ordinal INTEGER NOT NULL,
            experiment_id TEXT NOT NULL, run_id TEXT NOT NULL, part INTEGER NOT NULL,
            revision INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, document TEXT NOT NULL,
            UNIQUE (file, ordinal))""",
        "CREATE INDEX candidate_run ON candidate (experiment_id, run_id)",
        """CREATE TABLE result (
            experiment_id TEXT NOT NULL, run_id TEXT NOT NULL, candidate INTEGER NOT NULL REFERENCES candidate (id),
            status TEXT, host TEXT, mtime_ns INTEGER NOT NULL, config TEXT NOT NULL, metrics TEXT NOT NULL,
            PRIMARY KEY (experiment_id, run_id))""",
        "CREATE INDEX result_status ON result (status, host)",
        "CREATE INDEX result_run ON result (run_id)",
        """CREATE TABLE reject (
            file INTEGER NOT NULL REFERENCES file (id), line INTEGER NOT NULL,
            fault TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (file, line)) WITHOUT ROWID""",
        """CREATE TABLE key (
            section TEXT NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL,
            PRIMARY KEY (section, name)) WITHOUT ROWID""",
        """CREATE VIEW results AS SELECT r.experiment_id, r.run_id,
            json_extract(c.document, '$.timestamp') AS timestamp, r.status,
            json_extract(c.document, '$.model') AS model, json_extract(c.document, '$.dataset') AS dataset,
            r.config, r.metrics, json_extract(c.document, '$.notes') AS notes,
            json_extract(c.document, '$."group"') AS "group", json_extract(c.document, '$.tags') AS tags, r.host,
            json_extract(c.document, '$.started') AS started, json_extract(c.document, '$.duration_s') AS duration_s,
            c.revision, c.document, f.path AS file
            FROM result r JOIN candidate c ON c.id = r.candidate JOIN file f ON f.id = c.file""",
        """CREATE VIEW metrics AS SELECT experiment_id, run_id, item.key AS name, item.value AS value
            FROM result, json_each(result.metrics) AS item""",
        """CREATE VIEW config AS SELECT experiment_id, run_id, item.key AS name, item.value AS value
            FROM result, json_each(result.config) AS item""",
    ),
)
VERSION = len(_STEPS)


def migrate(connection: sqlite3.Connection, name: str, busy_s: float) -> None:
    """Bring a store to the present version, whoever else is doing the same.

    Raises:
        StoreRefusedError: the store was written by a later version of logferry; it is left as it is.

    """
    _use_wal(connection, busy_s)
    if _version(connection, name) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[_version(connection, name) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, name: str) -> int:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StoreRefusedError(
            f"{name} was written by a later logferry (store version {found}, this one knows {VERSION}); "
            "it is left as it is; upgrade logferry, or set LOGFERRY_STORE to another file"
        )
    return int(found)


def _use_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    """Switch to write-ahead logging; SQLite does not wait for a lock here by itself."""
    deadline = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
