"""What is shown of a run that several files have rows for. Every backend shows the same.

The winner is the row with the greatest (owner's before part, revision, mtime_ns, id). Parts give the metrics that the
winner lacks, newer parts before older ones; a run whose owner's file never arrived is shown from its parts alone.
Edits change its tags and notes, or hide it; edits alone are nothing to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from logferry.edits import Edited, merged
from logferry_collector.records import Role


class Candidate(NamedTuple):
    id: int
    role: int
    revision: int
    mtime_ns: int
    document: dict[str, Any]
    file: int
    ordinal: int

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        return (self.role == Role.RESULT, self.revision, self.mtime_ns, self.id)


def winner_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the row that is shown, if any is."""
    shown = [candidate for candidate in candidates if candidate.role != Role.EDIT]
    if not shown or _edited(candidates).removed:
        return None
    return max(shown, key=lambda candidate: candidate.rank)


def changes_of(winner: Candidate, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the fields that are shown otherwise than the winner has them."""
    own = winner.document.get("metrics") or {}
    metrics = dict(own)
    for part in sorted(candidates, key=lambda candidate: candidate.rank, reverse=True):
        if part.role == Role.PART:
            for name, value in (part.document.get("metrics") or {}).items():
                metrics.setdefault(name, value)
    added = {"metrics": metrics} if len(metrics) > len(own) else {}
    return added | _edited(candidates).applied(winner.document)


def _edited(candidates: Sequence[Candidate]) -> Edited:
    return merged(candidate.document for candidate in candidates if candidate.role == Role.EDIT)
