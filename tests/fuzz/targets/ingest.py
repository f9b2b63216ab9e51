"""Result files through all of the collector, into a store."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from logferry_collector.formats import FORMATS
from mutation import join, split
from support.collecting import Place
from targets import results

_DIRECTORY = tempfile.TemporaryDirectory(prefix="lf-")
_ROOT = Path(_DIRECTORY.name)
# Rows stay when their files go, so a store that takes everything in would grow.
_INPUTS_OF_A_STORE = 200


class Collected:
    """A store that is begun anew now and then."""

    def __init__(self) -> None:
        self.inputs = 0
        self.place: Place | None = None

    def next(self) -> Place:
        if self.place is None or self.inputs % _INPUTS_OF_A_STORE == 0:
            if self.place is not None:
                self.place.store.close()
                shutil.rmtree(_ROOT / "store")
            self.place = Place(_ROOT / "store")
        self.inputs += 1
        return self.place


COLLECTED = Collected()


def seeds() -> list[bytes]:
    return [*results.seeds(), join(0, [part for seed in results.seeds()[::3] for part in split(seed)[1]])]


def check(data: bytes) -> None:
    place = COLLECTED.next()
    parts = split(data)[1][:3]
    try:
        for number, (kind, body) in enumerate(parts):
            place.write(f"exp/run{number}{FORMATS[kind % len(FORMATS)].suffixes[0]}", body)
        place.collect()
        place.settle()
        place.reader.results()
    finally:
        shutil.rmtree(place.home.results, ignore_errors=True)
