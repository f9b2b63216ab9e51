"""Whose result a document is: its ids, from itself or else from where it lies, and whether it is a result at all."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from logferry import edits
from logferry.layout import MAX_COMPONENT_BYTES, safe_component
from logferry.results import validate
from logferry_collector.formats import stem_of
from logferry_collector.records import Found, Record, Role

_PART = ".part-"
_MAX_INTEGER = 1 << 63


class NoResultError(ValueError):
    """A document is no result; the message says why and what would help."""


def record_of(document: Any, found: Found, ordinal: int, *, row: bool) -> Record:
    """Return the row that a document makes, with the ids that it lacks filled in.

    Args:
        document: what a format read.
        found: the file, by whose path a document without ids is named.
        ordinal: which of the file's documents it is.
        row: the file may hold several.

    Raises:
        NoResultError: a field of a wrong type, an unsafe id, or no id.

    """
    problem = validate(document) or _out_of_range(document)
    if problem:
        raise NoResultError(problem)
    run, part, producer = stem_of(os.path.basename(found.path)).partition(_PART)
    role = Role.EDIT if producer.startswith(edits.PREFIX) else Role.PART if part else Role.RESULT
    if role is Role.EDIT and edits.problem(document):
        raise NoResultError(edits.problem(document))
    run_id = document.get("run_id")
    experiment_id = document.get("experiment_id")
    if experiment_id is None:
        experiment_id = found.experiment or _directory(found)
    if run_id is None:
        inside = _inside(found)
        between = inside[:-1] if found.experiment else inside[1:-1]  # `seed1/r.json` and `seed2/r.json` are two runs
        run_id = _short("-".join([*between, run, *([str(ordinal)] if row else [])]))
    try:
        document["experiment_id"] = safe_component(experiment_id, "experiment id")
        document["run_id"] = safe_component(run_id, "run id")
    except ValueError as error:
        raise NoResultError(str(error)) from error
    return Record(ordinal, experiment_id, run_id, role, document.get("revision") or 0, document)


def _short(name: str) -> str:
    """Return a name as it is if it can be an id; of a longer one the end, where runs differ, behind its hash."""
    whole = os.fsencode(name)
    if len(whole) <= MAX_COMPONENT_BYTES:
        return name
    digest = hashlib.blake2b(whole, digest_size=4).hexdigest()
    return f"{digest}-{whole[len(digest) + 1 - MAX_COMPONENT_BYTES :].decode(errors='ignore').lstrip()}"


def _directory(found: Found) -> str:
    """Return the name of the first directory below the base."""
    inside = _inside(found)
    if len(inside) < 2:
        raise NoResultError(
            "no experiment_id, and the file lies in no experiment's directory; add one, move the file, "
            "or name it with 'logferry ingest --experiment'"
        )
    return inside[0]


def _inside(found: Found) -> list[str]:
    """Return a path's parts below its base."""
    return found.path[len(found.base) :].lstrip(os.sep).split(os.sep)


def _out_of_range(document: dict[str, Any]) -> str:
    for name in ("revision", "attempt"):
        value = document.get(name)
        if value is not None and not -_MAX_INTEGER <= value < _MAX_INTEGER:
            return f"{name} is beyond 64 bits"
    return ""
