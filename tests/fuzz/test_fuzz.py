"""A few hundred mutated inputs for each target with every run of the tests; `make fuzz` is a million, guided."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest

from logferry_collector.formats import FORMATS
from mutation import Mutator, split
from targets import TARGETS

SEED = 4
INPUTS = {"frames": 300, "spools": 100, "journals": 80, "results": 150 * len(FORMATS), "ingest": 30, "runlogs": 50}
FOUND = sorted((Path(__file__).parent / "found").iterdir())


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_input_neither_raises_nor_breaks_a_promise(name: str) -> None:
    target = importlib.import_module(TARGETS[name].module)
    seeds = target.seeds()
    mutator = Mutator(seeds, random.Random(SEED))
    for data in [*seeds, *(mutator.next() for _ in range(INPUTS[name]))]:
        target.check(data)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(path: Path) -> None:
    importlib.import_module(TARGETS[path.name.partition("-")[0]].module).check(path.read_bytes())


def test_the_same_seed_makes_the_same_inputs_and_another_one_others() -> None:
    seeds = importlib.import_module(TARGETS["results"].module).seeds()

    def made(seed: int) -> list[bytes]:
        mutator = Mutator(seeds, random.Random(seed))
        return [mutator.next() for _ in range(50)]

    assert made(1) == made(1) != made(2)
    assert all(split(one) for one in made(1))
