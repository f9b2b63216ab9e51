"""Names that differ in little, and many of them (ten thousand in `make deep`): each run keeps its own path and row."""

from __future__ import annotations

import asyncio
import itertools
import unicodedata
from pathlib import Path

import msgpack
import pytest

from logferry import results
from logferry.layout import Home, safe_component
from logferry_agent.ledger import Ledger
from logferry_agent.logset import find, runs
from logferry_agent.producers import Producers, Refused
from support.collecting import Place
from support.depth import sized
from support.journals import ABOUT
from support.writerrig import rig

# Equal to a person, or to a file system that folds names, and yet different.
ALIKE = [
    "a",
    "A",
    "é",
    unicodedata.normalize("NFD", "é"),
    "\ufb01",
    "fi",
    "K",
    "\u212a",
    "ß",
    "SS",
    "a.",
    "a~2",
    "~2",
    "a.jsonl",
]


def many_names() -> list[str]:
    """Return names of fourteen letters that differ in case only."""
    pairs = itertools.product(*zip("experimentruns", "EXPERIMENTRUNS", strict=True))
    return ["".join(letters) for letters in itertools.islice(pairs, sized(1000, 10_000))]


def test_many_runs_whose_names_differ_in_case_only_keep_paths_and_rows_of_their_own(root: Path) -> None:
    names, producers, home = many_names(), Producers(Ledger()), Home(root)
    for number, name in enumerate(names):
        entry = producers.introduce(f"p{number:08}", ABOUT | {"run_id": name})
        assert not isinstance(entry, Refused | None)
        assert msgpack.unpackb(entry.payload)["run_id"] == name
        home.run_logs("exp", name).mkdir(parents=True)
    assert {run.run for run in runs(home)} == set(names)
    assert [run.run for run in find(home, names[-321])] == [names[-321]]
    place = Place(root / "collected")
    place.append("exp/all.jsonl", *({"run_id": name, "status": "COMPLETED"} for name in names))
    place.collect()
    assert sorted(place.ids()) == sorted(names)


def test_runs_whose_names_are_alike_write_to_files_of_their_own(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            for number, name in enumerate(ALIKE):
                one.hello(f"p{number:08}", run=name)
                one.steps(f"p{number:08}", 1, 3)
            await one.quiet()
            for number, name in enumerate(ALIKE):
                assert one.seqs(name) == [f"p{number:08}-{step}" for step in (1, 2, 3)]

    asyncio.run(main())


def test_results_of_runs_whose_names_are_alike_are_files_and_rows_of_their_own(root: Path) -> None:
    place = Place(root)
    for name in ALIKE:
        assert results.create(
            place.home.result("exp", name), {"experiment_id": "exp", "run_id": name, "status": "RUNNING"}
        )
    place.collect()
    assert sorted(place.ids()) == sorted(ALIKE)


@pytest.mark.parametrize("owner", ["../../up", "a\0b", "語" * 200, "\x1b[2J", 7, None, ["x"]])
def test_a_document_is_written_whoever_it_says_owns_it(root: Path, owner: object) -> None:
    path = Home(root).result("exp", "語" * 42)
    results.replace(path, {"owner": owner})
    assert results.read(path) == {"owner": owner}
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_longest_names_leave_room_for_what_is_put_around_them(root: Path) -> None:
    longest = "語" * 42
    assert safe_component(longest, "run id") == longest
    home = Home(root)
    for path in (home.result(longest, longest), home.result_part(longest, longest, "p" * 12)):
        results.replace(path, {"owner": "p" * 12})
        assert results.read(path)["owner"] == "p" * 12
