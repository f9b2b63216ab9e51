"""What is shown of a run that several files have rows for. Every backend shows the same.

The winner is the row with the greatest (owner's before part, revision, mtime_ns, id). Parts give the metrics that the
winner lacks, newer parts before older ones; a run whose owner's file never arrived is shown from its parts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    id: int
    part: bool | int
    revision: int
    mtime_ns: int
    document: dict[str, Any]
    file: int
    ordinal: int

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        return (not self.part, self.revision, self.mtime_ns, self.id)


def winner_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the row that is shown."""
    return max(candidates, key=lambda candidate: candidate.rank)


def metrics_of(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the metrics that are shown, the winner's own first and in their order."""
    winner = winner_of(candidates)
    shown = dict(winner.document.get("metrics") or {})
    for part in sorted(candidates, key=lambda candidate: candidate.rank, reverse=True):
        if part.part:
            for name, value in (part.document.get("metrics") or {}).items():
                shown.setdefault(name, value)
    return shown
