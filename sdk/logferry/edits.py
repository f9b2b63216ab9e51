"""What people change of a result after its run: tags, notes, and whether it lies in the trash.

It never stands in the result document, which belongs to its run, but in files beside it, one for each change:
`results/<experiment_id>/<run_id>.part-edit-<UTC>-<random>.json`, a JSON object with ::

    experiment_id  run_id  producer  timestamp   as in other parts; `producer` is the name's end, `edit-…`
    by                                           user@host
    edit                                         one or more of
      tags      map from a tag to true (put there) or false (taken away)
      note      text, one more line of the notes; empty: all earlier ones go, the run's own stay
      removed   true (into the trash) or false (back)

Invariants: a file appears whole, by link(2), and is never changed, so that any number of people on any machines may
edit one run at the same time. What holds is all of a run's edits in the order of (timestamp, producer): of two that
speak of the same tag the later one is right. A result may come from anywhere; its edits are always in the home.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from logferry import results
from logferry.layout import Home, host_name

PREFIX = "edit-"
MARK = ".part-" + PREFIX


@dataclass(slots=True)
class Edited:
    """What some edits of one run come to."""

    tags: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    removed: bool = False

    def applied(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a document that the edits change, as they are now."""
        changed: dict[str, Any] = {}
        if self.tags:
            own = [tag for tag in document.get("tags") or [] if self.tags.get(str(tag), True)]
            changed["tags"] = own + [tag for tag, there in self.tags.items() if there and tag not in own]
        if self.notes:
            own_notes = document.get("notes")
            changed["notes"] = "\n".join([*([str(own_notes)] if own_notes else []), *self.notes])
        return changed


def write(home: Home, experiment_id: str, run_id: str, edit: dict[str, Any]) -> Path:
    """Write one edit, whole and durable; return its file.

    Raises:
        OSError: it cannot be written.

    """
    now = datetime.now(UTC)
    producer = f"{PREFIX}{now:%Y%m%dT%H%M%S%fZ}-{os.urandom(4).hex()}"
    document = {
        "experiment_id": experiment_id,
        "run_id": run_id,
        "producer": producer,
        "timestamp": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "by": f"{_user()}@{host_name()}",
        "edit": edit,
    }
    path = home.result_part(experiment_id, run_id, producer)
    results.replace(path, document)
    return path


def problem(document: dict[str, Any]) -> str:
    """Return what is wrong with an edit, or the empty string."""
    edit = document.get("edit")
    if not isinstance(edit, dict):
        return "an edit without a map 'edit'"
    tags = edit.get("tags", {})
    if not isinstance(tags, dict) or not all(isinstance(there, bool) for there in tags.values()):
        return "edit.tags is no map of true and false"
    if not isinstance(edit.get("note", ""), str) or not isinstance(edit.get("removed", False), bool):
        return "edit.note is no text, or edit.removed neither true nor false"
    return "" if isinstance(document.get("timestamp"), str) else "an edit without a timestamp"


def merged(documents: Iterable[dict[str, Any]]) -> Edited:
    """Return what edits of one run come to, whatever order they are found in."""
    found = Edited()
    for document in sorted(documents, key=lambda one: (one["timestamp"], str(one.get("producer")))):
        edit = document["edit"]
        for tag, there in edit.get("tags", {}).items():
            found.tags.pop(tag, None)
            found.tags[tag] = there
        if "note" in edit:
            found.notes = [*found.notes, edit["note"]] if edit["note"] else []
        found.removed = edit.get("removed", found.removed)
    return found


def trash(home: Home) -> Iterator[tuple[str, str]]:
    """Yield (experiment id, run id) of the runs that lie in the trash."""
    runs: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(home.results.glob(f"*/*{MARK}*.json")):
        runs.setdefault((path.parent.name, path.name.partition(MARK)[0]), []).append(path)
    for run, files in runs.items():
        try:
            lies_there = removed(files)
        except OSError:  # nobody knows; who deletes will be told
            lies_there = True
        if lies_there:
            yield run


def removed(files: Iterable[Path]) -> bool:
    """Say whether the edits of one run that some files hold put it into the trash.

    Raises:
        OSError: one of them cannot be read, and may be the one that takes it out.

    """
    documents: list[dict[str, Any]] = []
    for path in files:
        with suppress(FileNotFoundError, results.ResultError):
            document = results.read(path)
            if not problem(document):
                documents.append(document)
    return merged(documents).removed


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need have no name
        return str(os.getuid())
