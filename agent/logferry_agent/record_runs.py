"""Which run a record of the journal concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from logferry_agent.ledger import said_of
from logferry_agent.segment import AGENT, Record

# Producers that ended are dropped; what remains is as many as are alive, and a bound for those that never end.
_MAX_CACHED = 100_000


class Runs:
    """The run, (experiment, run), of each producer; `about_of` gives what is constant for a producer."""

    def __init__(self, about_of: Callable[[str], dict[str, Any] | None]) -> None:
        self._about_of = about_of
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, producer: str) -> tuple[str, str] | None:
        run = self._known.get(producer)
        if run is None:
            about = self._about_of(producer)
            if about is None:
                return None
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            run = self._known[producer] = about["experiment_id"], about["run_id"]
        return run

    def producer_of(self, experiment: str, run: str) -> str | None:
        """Return some producer of a run."""
        return next((name for name, known in self._known.items() if known == (experiment, run)), None)

    def forget(self, producer: str) -> None:
        self._known.pop(producer, None)


def concerned(record: Record) -> str:
    """Return the producer whose run a record is about."""
    if record.kind == AGENT:
        said = said_of(record.payload)
        return said.producer if said else record.producer
    return record.producer
