"""What is fuzzed: each target has its seeds, made of real bytes, and a check that raises where a promise is broken."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Target(Protocol):
    def seeds(self) -> list[bytes]: ...
    def check(self, data: bytes) -> None: ...


class Share(NamedTuple):
    """A target's module, and how many of a million inputs it gets."""

    module: str
    of_a_million: int


TARGETS = {
    "frames": Share("targets.frames", 200_000),
    "spools": Share("targets.spools", 80_000),
    "journals": Share("targets.journals", 80_000),
    "results": Share("targets.results", 600_000),
    "ingest": Share("targets.ingest", 20_000),
    "runlogs": Share("targets.runlogs", 20_000),
}
