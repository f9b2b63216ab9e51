"""A store as a whole: copied into another, checked, and made empty to be filled anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

from logferry_collector.records import Role
from logferry_collector.store import StoreRefusedError
from logferry_collector.store.catalogue import Catalogue
from logferry_collector.store.database import ASKED, Session
from logferry_collector.store.fragment import Sql, sql
from logferry_collector.store.relational import Relational
from logferry_collector.store.values import texts
from logferry_collector.store.writing import CANDIDATE, FILE, RESULT, Writing, candidate_of, shown_of

# What is kept; `result` is a function of it. Rows of one statement are in memory together.
_TABLES = {
    "file": f"id, {FILE}",
    "candidate": CANDIDATE,
    "reject": "file, line, fault, reason",
    "key": "section, name, path",
}
_ROWS = 2_000


def copy(source: Relational, target: Relational) -> int:
    """Copy a store into an empty one, all of it or nothing; return how many results it has.

    Raises:
        StoreRefusedError: the target is not empty.

    """
    with target.database.writing() as session:
        if session.run(Sql("SELECT 1 FROM file LIMIT 1")):
            raise StoreRefusedError(f"store {target.url} is not empty; copy to one that is")
        # Nobody writes meanwhile: cursors of one moment beside rows of another would be believed for ever.
        with source.database.writing():
            for table, columns in _TABLES.items():
                for some in _some(source.database.rows(Sql(f"SELECT {columns} FROM {table}"))):
                    session.insert(table, columns, some)
        _show_all(target, session)
    return target.counts()[0]


def forget(store: Relational, below: str) -> None:
    """Forget the files below a directory, with their rows: they are read again as if they were new."""
    files = sql("SELECT id FROM file WHERE substr(path, 1, ?) = ?", len(below), below)
    for name in store.database.indexes(ASKED):  # made anew when it is asked for
        store.database.drop_index(name)
    with store.database.writing() as session:
        for table in ("candidate", "reject"):
            session.run(sql(f"DELETE FROM {table} WHERE file IN (?)", files))
        session.run(sql("DELETE FROM file WHERE id IN (?)", files))
        session.run(Sql("DELETE FROM key"))
        session.run(Sql("DELETE FROM result"))
        catalogue = Catalogue()
        last = 0
        select = sql("SELECT id, document FROM candidate WHERE part != ?", Role.EDIT)
        while some := session.run(sql("? AND id > ? ORDER BY id LIMIT ?", select, last, _ROWS)):
            for last, document in some:  # noqa: B007
                read = json.loads(document)
                catalogue.add(read, texts(read))
        session.note("key", catalogue.take_new())
        _show_all(store, session)
    store.forget()


def gone_with_rows(store: Relational, below: str) -> Iterator[str]:
    """Yield the paths below a directory that rows are of."""
    where = sql(
        "substr(path, 1, ?) = ? AND EXISTS (SELECT 1 FROM candidate c WHERE c.file = file.id)", len(below), below
    )
    for (path,) in store.database.rows(sql("SELECT path FROM file WHERE ? ORDER BY path", where)):
        yield path


def problems(store: Relational) -> Iterator[str]:
    """Yield what is wrong with a store, a line each."""
    there: tuple[Any, ...] | None
    yield from store.database.damage()
    for table in ("candidate", "reject"):
        without = "NOT EXISTS (SELECT 1 FROM file f WHERE f.id = t.file)"
        (lost,) = store.database.rows(Sql(f"SELECT count(*) FROM {table} t WHERE {without}"))
        if lost[0]:
            yield f"{lost[0]} rows of table {table} belong to no file"
    shown = store.database.rows(Sql(f"SELECT {RESULT} FROM result ORDER BY experiment_id, run_id"))
    there = next(shown, None)
    for run, wanted in _wanted(store):
        while there is not None and (there[0], there[1]) < run:
            yield f"{there[0]}/{there[1]} is shown, and no file has it"
            there = next(shown, None)
        found = there if there is not None and (there[0], there[1]) == run else None
        if found is not None:
            there = next(shown, None)
        if (found is None) != (wanted is None) or (found and wanted and _plain(found[2:]) != _plain(wanted)):
            yield f"{run[0]}/{run[1]} is not shown as its files have it"
    while there is not None:
        yield f"{there[0]}/{there[1]} is shown, and no file has it"
        there = next(shown, None)


def _wanted(store: Relational) -> Iterator[tuple[tuple[str, str], tuple[Any, ...] | None]]:
    rows = store.database.rows(Sql(f"SELECT {CANDIDATE} FROM candidate ORDER BY experiment_id, run_id"))
    for run, some in groupby(rows, key=lambda row: (row[3], row[4])):
        yield run, shown_of([candidate_of(row, json.loads(row[8])) for row in some], {})


def _plain(row: tuple[Any, ...]) -> list[Any]:
    """Return a row of `result` behind its ids, its JSON as what it means."""
    *columns, merged = row
    texts = [json.loads(one) if isinstance(one, str) else one for one in columns[4:]]
    return [*columns[:4], *texts, json.loads(merged) if merged else None]


def _show_all(store: Relational, session: Session) -> None:
    writing = Writing(store.database, session, Catalogue())
    last = ("", "")
    select = "SELECT DISTINCT experiment_id, run_id FROM candidate"
    while runs := session.run(
        sql(f"{select} WHERE (experiment_id, run_id) > (?, ?) ORDER BY 1, 2 LIMIT ?", *last, _ROWS)
    ):
        writing.show(runs)
        last = runs[-1]


def _some(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(rows, _ROWS)):
        yield some
