"""From an empty database, or that of any earlier version, to the present one.

Tables, the same in every database (the views are what users may rely on; see `logferry sql`)::

    file       one row per result file: stamp, cursor, version (see records.FileState)
    candidate  one row per row of a file: `document` is the JSON as it was read, ids filled in
    result     what is shown of each (experiment_id, run_id): the winning candidate, taken apart to be searched
               (`fields`, `config`, `metrics`; see values.py); `merged` has the fields that parts and edits changed
    reject     what was refused: file, line (0: all of it), fault, reason
    key        names that occur in documents: (section, name, path); never shrinks
    asked_…    made for questions, and removed, at any time: an index (indexes.py) or a table (projection.py)

Invariants: the version is the number of steps done, and is committed with them, under the writer's lock; `result` is a
function of `candidate` (winner.py), whose `part` is a records.Role.
"""

from __future__ import annotations

from collections.abc import Sequence

from logferry_collector.store import StoreRefusedError
from logferry_collector.store.database import Session
from logferry_collector.store.fragment import Sql

Steps = Sequence[Sequence[str]]


def check_version(found: int, steps: Steps, name: str) -> bool:
    """Return whether a store is of the present version.

    Raises:
        StoreRefusedError: it was written by a later version of logferry; it is left as it is.

    """
    if found > len(steps):
        raise StoreRefusedError(
            f"{name} was written by a later logferry (store version {found}, this one knows {len(steps)}); "
            "it is left as it is; upgrade logferry, or set LOGFERRY_STORE to another one"
        )
    return found == len(steps)


def migrate(session: Session, found: int, steps: Steps) -> None:
    """Do the steps that are missing, within the transaction of a session."""
    for step in steps[found:]:
        for statement in step:
            session.run(Sql(statement))
