"""One commit: some files' changes become rows, rejects and cursors, in a transaction of the one writer.

Everything is done for all files at once: what a statement costs is paid per commit, not per row. Ids are given out
here, which is safe because there is one writer at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import Any

from logferry_collector.records import Fault, Intake, Record, Reject, Role
from logferry_collector.store.catalogue import Catalogue
from logferry_collector.store.database import Database, Session
from logferry_collector.store.fragment import Sql, sql
from logferry_collector.store.values import Texts, dumped, known, storable, texts
from logferry_collector.store.winner import Candidate, changes_of, winner_of

FILE = 'path, version, device, inode, size, mtime_ns, ctime_ns, "offset", marker, lines'
CANDIDATE = "id, file, ordinal, experiment_id, run_id, part, revision, mtime_ns, document"
RESULT = "experiment_id, run_id, candidate, status, host, mtime_ns, fields, config, metrics, merged"
_NO_SIZE = (1 << 63) - 1
_Run = tuple[str, str]


class NewRow:
    """A row of `candidate` before it is written; its texts are made once, when somebody first asks for them."""

    def __init__(self, columns: tuple[Any, ...], document: dict[str, Any]) -> None:
        self.columns = columns  # without the document
        self.document = document

    @cached_property
    def texts(self) -> Texts:
        return texts(self.document)


class Writing:
    """The changes of one transaction."""

    def __init__(self, database: Database, session: Session, catalogue: Catalogue) -> None:
        self._database, self._session, self._catalogue = database, session, catalogue
        self._files: dict[str, tuple[int, int]] = {}  # id and version, of the paths that are touched
        self._next_file = self._next_row = 0

    def take(self, intakes: Sequence[Intake]) -> list[bool]:
        """Commit what is on top of the version in the store; say of each whether it was."""
        paths = {name for intake in intakes for name in (intake.state.path, intake.renamed_from) if name}
        wanted = self._database.listed({"path": "text"}, [(path,) for path in sorted(paths)])
        rows = self._session.run(
            sql("SELECT path, id, version FROM file WHERE path IN (SELECT path FROM ? AS v)", wanted)
        )
        self._files = {path: (id_, version) for path, id_, version in rows}
        self._next_file, self._next_row = self._free("file"), self._free("candidate")
        held: list[bool] = []
        for some in _apart(intakes):
            on_top = [self._is_next(intake) for intake in some]
            self._put(list(compress(some, on_top)))
            held += on_top
        return held

    def _free(self, table: str) -> int:
        return int(self._session.run(Sql(f"SELECT coalesce(max(id), 0) + 1 FROM {table}"))[0][0])

    def _is_next(self, intake: Intake) -> bool:
        return self._files.get(intake.state.path, (0, 0))[1] == intake.state.version - 1

    def _put(self, intakes: list[Intake]) -> None:
        """Put in the changes of different files."""
        touched = self._void(intakes)
        records = [(self._file_of(intake), intake.state.stamp.mtime_ns, intake.records) for intake in intakes]
        touched |= dict.fromkeys((one.experiment_id, one.run_id) for _, _, some in records for one in some)
        rejects = {(self._file_of(one), reject.line): reject for one in intakes for reject in one.rejects}
        candidates = self._candidates(touched)
        new = {row.columns[0]: row for row in self._new_rows(records, candidates, rejects)}
        # First what a server has most to do with, while the texts of the rows that follow are made here.
        self._show(candidates, new)
        self._session.insert("candidate", CANDIDATE, map(self._written, new.values()))
        self._session.note("key", self._catalogue.take_new())
        self._refuse(rejects)

    def _new_rows(
        self,
        records: list[tuple[int, int, list[Record]]],
        candidates: dict[_Run, list[Candidate]],
        rejects: dict[tuple[int, int], Reject],
    ) -> Iterator[NewRow]:
        """Yield rows of `candidate`, and put them among those of their runs; or their records among the rejects."""
        for file, mtime_ns, some in records:
            greatest: dict[_Run, tuple[int, int]] = {}  # the revision of each run in this file so far, and its line
            for record in some:
                ids = (record.experiment_id, record.run_id)
                run = candidates[ids]
                earlier = greatest.get(ids) or _greatest(run, file)
                if earlier and earlier[0] >= record.revision:
                    greatest[ids] = earlier
                    rejects[file, record.ordinal] = _duplicate(record, earlier[1])
                    continue
                greatest[ids] = (record.revision, record.ordinal)
                rank = (int(record.role), record.revision, mtime_ns)
                row = NewRow((self._next_row, file, record.ordinal, *ids, *rank), record.document)
                run.append(candidate_of(row.columns, record.document))
                self._next_row += 1
                yield row

    def _written(self, row: NewRow) -> tuple[Any, ...]:
        if row.columns[5] != Role.EDIT:
            self._catalogue.add(row.document, row.texts)
        return (*row.columns, row.texts.document)

    def _file_of(self, intake: Intake) -> int:
        return self._files[intake.state.path][0]

    def _void(self, intakes: list[Intake]) -> dict[_Run, None]:
        """Replace the rows of files, and remove what their intakes replace; return the runs that lose a row."""
        cut: list[
            tuple[int, int]
        ] = []  # rows of a file with a greater ordinal go, and its rejects behind or of no line
        gone: list[int] = []
        kept: list[int] = []
        new: list[tuple[Any, ...]] = []
        for intake in intakes:
            state = intake.state
            if intake.renamed_from in self._files:
                gone.append(self._files.pop(intake.renamed_from)[0])
            file = self._files.get(state.path, (0, 0))[0]
            if not file:
                file, self._next_file = self._next_file, self._next_file + 1
            elif intake.rows_after is None:
                kept.append(file)
            else:
                cut.append((file, intake.rows_after))
            self._files[state.path] = (file, state.version)
            new.append((file, state.path, state.version, *state.stamp, state.offset, state.marker, state.lines))
        listed = self._database.listed
        cut += [(file, -1) for file in gone]
        touched: dict[_Run, None] = {}
        if cut:
            rows = listed({"file": "bigint", "after": "bigint"}, cut)
            ids = sql("SELECT c.id FROM ? AS v JOIN candidate c ON c.file = v.file AND c.ordinal > v.after", rows)
            lost = self._session.run(sql("DELETE FROM candidate WHERE id IN (?) RETURNING experiment_id, run_id", ids))
            touched = dict.fromkeys((experiment_id, run_id) for experiment_id, run_id in lost)
            on = "j.file = v.file AND (j.line = 0 OR j.line > v.after)"
            old = sql(f"SELECT j.file, j.line FROM ? AS v JOIN reject j ON {on}", rows)
            self._session.run(sql("DELETE FROM reject WHERE (file, line) IN (?)", old))
        if kept:
            rows = listed({"file": "bigint"}, [(file,) for file in kept])
            self._session.run(sql("DELETE FROM reject WHERE line = 0 AND file IN (SELECT file FROM ? AS v)", rows))
        old = listed({"file": "bigint"}, [(row[0],) for row in new] + [(file,) for file in gone])
        self._session.run(sql("DELETE FROM file WHERE id IN (SELECT file FROM ? AS v)", old))
        self._session.insert("file", f"id, {FILE}", new)
        return touched

    def _candidates(self, touched: Iterable[_Run]) -> dict[_Run, list[Candidate]]:
        """Return the rows that some runs have."""
        found: dict[_Run, list[Candidate]] = {run: [] for run in touched}
        runs = self._database.listed({"e": "text", "r": "text"}, list(found))
        columns = ", ".join(f"c.{name}" for name in CANDIDATE.split(", "))
        on = "c.experiment_id = v.e AND c.run_id = v.r"
        for row in self._session.run(sql(f"SELECT {columns} FROM ? AS v JOIN candidate c ON {on}", runs)):
            found[row[3], row[4]].append(candidate_of(row, json.loads(row[8])))
        return found

    def show(self, runs: Iterable[_Run]) -> None:
        """Make the visible rows of some runs anew."""
        self._show(self._candidates(runs), {})

    def _show(self, runs: dict[_Run, list[Candidate]], new: Mapping[int, NewRow]) -> None:
        rows = ((*run, *shown) for run, some in runs.items() if (shown := shown_of(some, new)) is not None)
        old = self._database.listed({"e": "text", "r": "text"}, list(runs))
        self._session.run(sql("DELETE FROM result WHERE (experiment_id, run_id) IN (SELECT e, r FROM ? AS v)", old))
        self._session.insert("result", RESULT, rows)

    def _refuse(self, rejects: dict[tuple[int, int], Reject]) -> None:
        if not rejects:
            return
        old = self._database.listed({"file": "bigint", "line": "bigint"}, list(rejects))
        self._session.run(sql("DELETE FROM reject WHERE (file, line) IN (SELECT file, line FROM ? AS v)", old))
        rows = [(file, line, one.fault.value, storable(one.reason)) for (file, line), one in rejects.items()]
        self._session.insert("reject", "file, line, fault, reason", rows)


def shown_of(candidates: Sequence[Candidate], new: Mapping[int, NewRow]) -> tuple[Any, ...] | None:
    """Return what `result` has of a run with some rows behind its ids; None where it has nothing to show."""
    winner: Candidate | None
    if len(candidates) == 1 and candidates[0].role == Role.RESULT:  # so are almost all
        winner, changes = candidates[0], dict[str, Any]()
    elif winner := winner_of(candidates):
        changes = changes_of(winner, candidates)
    else:
        return None
    shown = winner.document | changes
    made = new[winner.id].texts if winner.id in new and not changes else texts(shown)
    merged = dumped(changes) if changes else None
    return (winner.id, known(shown.get("status")), known(shown.get("host")), winner.mtime_ns, *made[1:], merged)


def forget_rejects(session: Session, paths: Sql) -> None:
    """Forget what was refused of some files; those without rows are forgotten whole."""
    files = sql("SELECT id FROM file WHERE path IN (SELECT path FROM ? AS v)", paths)
    session.run(sql("DELETE FROM reject WHERE file IN (?)", files))
    # No file has this size: the cursor, by which a renamed file is known, stays.
    session.run(sql("UPDATE file SET size = ? WHERE id IN (?)", _NO_SIZE, files))
    empty = "NOT EXISTS (SELECT 1 FROM candidate WHERE candidate.file = file.id)"
    session.run(sql(f"DELETE FROM file WHERE id IN (?) AND {empty}", files))


def _apart(intakes: Sequence[Intake]) -> Iterator[list[Intake]]:
    """Yield intakes in order, those of one file one after the other."""
    some: list[Intake] = []
    seen: set[str] = set()
    for intake in intakes:
        names = {intake.state.path, intake.renamed_from} - {""}
        if names & seen:
            yield some
            some, seen = [], set()
        some.append(intake)
        seen |= names
    yield some


def candidate_of(row: Sequence[Any], document: dict[str, Any]) -> Candidate:
    id_, file, ordinal, _, _, part, revision, mtime_ns, *_ = row
    return Candidate(id_, part, revision, mtime_ns, document, file, ordinal)


def _greatest(run: list[Candidate], file: int) -> tuple[int, int] | None:
    """Return the greatest revision that a run has in a file, and its line."""
    return max(((one.revision, one.ordinal) for one in run if one.file == file), default=None)


def _duplicate(record: Record, line: int) -> Reject:
    run = f"run {record.experiment_id}/{record.run_id}"
    return Reject(
        record.ordinal,
        Fault.DUPLICATE,
        f"{run} stands on line {line} already; a higher revision, or a run_id of its own, lets both stand",
    )
