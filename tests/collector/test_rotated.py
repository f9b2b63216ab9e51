"""Files that are rotated, packed, removed or cut while somebody looks: each row is there, and once."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from logferry_collector.formats import format_of, names_before, stem_of
from support.collecting import Place

ROWS = ({"metrics": {"a": 1}}, {"metrics": {"a": 2}})


def values(place: Place) -> list[float]:
    return sorted(document["metrics"]["a"] for document in place.documents())


def pack(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_packed_at_rotation_has_its_rows_once(place: Place, restarted: bool) -> None:
    place.append("e/all.jsonl", *ROWS)
    place.collect()
    path = place.home.results / "e" / "all.jsonl"
    pack(path)
    if restarted:
        place.restart()
    place.collect()
    assert values(place) == [1, 2]  # the original stands there yet
    path.unlink()
    place.settle()
    place.ahead_s += 61
    place.collect()
    assert (values(place), place.faults()) == ([1, 2], [])
    place.append("e/all.jsonl", {"metrics": {"a": 3}})
    place.collect()
    place.restart()
    place.collect()
    assert values(place) == [1, 2, 3]


@pytest.mark.parametrize("name", ["all.jsonl.1", "all.jsonl-20250101", "all.1.jsonl"])
def test_rotation_packing_and_a_new_file_between_two_looks_lose_and_double_nothing(place: Place, name: str) -> None:
    place.append("e/all.jsonl", *ROWS)
    place.collect()
    path = place.home.results / "e" / "all.jsonl"
    pack(path.rename(path.with_name(name))).with_name(name).unlink()
    place.append("e/all.jsonl", {"metrics": {"a": 3}})
    place.collect()
    assert values(place) == [1, 2, 3]
    place.restart()
    place.settle()
    assert (values(place), place.faults()) == ([1, 2, 3], [])


def test_files_pushed_along_by_logrotate_keep_their_rows(place: Place) -> None:
    directory = place.home.results / "e"
    for number in range(4):
        for old in (2, 1):
            if (source := directory / f"all.csv.{old}").exists():
                source.rename(directory / f"all.csv.{old + 1}")
        if number:
            (directory / "all.csv").rename(directory / "all.csv.1")
        place.write("e/all.csv", f"metrics.a\n{number}\n")
        place.collect()
    assert (values(place), place.faults()) == ([0, 1, 2, 3], [])


def test_copied_and_truncated_then_packed(place: Place) -> None:
    place.append("e/all.jsonl", *ROWS)
    place.collect()
    path = place.home.results / "e" / "all.jsonl"
    shutil.copy(path, path.with_name("all.jsonl.1"))
    pack(path.with_name("all.jsonl.1")).with_name("all.jsonl.1").unlink()
    os.truncate(path, 0)
    place.append("e/all.jsonl", {"metrics": {"a": 3}})
    place.collect()
    assert values(place) == [1, 2, 3]


def test_two_files_with_the_same_first_kilobyte_are_two(place: Place) -> None:
    head = [{"run_id": f"h{number}", "notes": "n" * 200} for number in range(6)]
    place.append("e/a.jsonl", *head, {"run_id": "a"})
    place.append("f/b.jsonl", *head, {"run_id": "b"})
    place.collect()
    assert len(place.ids()) == 14
    place.append("e/a.jsonl", {"run_id": "a2"})
    os.replace(place.home.results / "e/a.jsonl", place.home.results / "f/b.jsonl")
    place.collect()
    assert place.ids("experiment_id = f") == ["a", "a2", *(f"h{number}" for number in range(6))]


def test_a_file_copied_over_another_in_place_is_read_anew(place: Place) -> None:
    place.write("e/a.csv", "run_id,metrics.a\nx,1\n")
    place.write("other.csv", "experiment_id,metrics.a,run_id\ne,2,y\ne,3,z\n")
    place.collect()
    shutil.copyfile(place.home.results / "other.csv", place.home.results / "e/a.csv")  # the same inode, longer
    place.collect()
    assert place.ids() == ["y", "z"]


@pytest.mark.parametrize("name", ["e/a.jsonl", "e/a.csv", "e/a.json"])
def test_a_file_removed_while_it_is_read_is_taken_in_as_it_was(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"e/a.csv": "run_id\na\n"}.get(name, '{"run_id": "a"}\n')
    path, really_read = place.write(name, text), os.pread

    def removed(*arguments: int) -> bytes:
        path.unlink(missing_ok=True)
        return really_read(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", removed)
        place.collect()
    place.collect()
    assert (place.ids(), place.faults()) == (["a"], [])


def test_a_file_removed_between_finding_and_reading_is_no_fault(place: Place) -> None:
    path = place.write("e/a.csv", "run_id\na\n")
    found = place.take_in.discover.scan()
    path.unlink()
    assert place.take_in.consolidator.take(found) == 0
    assert place.faults() == []


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.json", "a"),
        ("a.b.JSON", "a.b"),
        ("a.json.gz", "a"),
        ("a.jsonl.gz", "a.gz"),
        ("a.csv.1", "a.1"),
        ("a.csv-20250101.zst", "a-20250101.zst"),
        ("a.parquet.xz", "a"),
    ],
)
def test_names_say_the_format_and_the_rest_is_the_stem(name: str, stem: str) -> None:
    assert format_of(name) is not None
    assert stem_of(name) == stem


@pytest.mark.parametrize("name", [".json", "json", "a.json.1", "a.gz", "a.1", "a.jsonl.bak", "x/.csv", "a.json.1.gz"])
def test_names_that_say_no_format(name: str) -> None:
    assert format_of(name) is None


def test_names_before_rotation() -> None:
    assert names_before("a.jsonl.1.gz") == ["a.jsonl.1", "a.jsonl"]
    assert names_before("a.jsonl.gz") == ["a.jsonl"]
