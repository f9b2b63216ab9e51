"""Result documents: what comes back, whose row a file makes, and which of several wins."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logferry.results import finite
from logferry_collector.formats.json import decode
from logferry_collector.store.values import dumped
from support.collecting import SAMPLE, Place


def test_the_sample_document_comes_back_with_every_field_and_value(place: Place) -> None:
    place.write("exp042/anything.json", SAMPLE)
    place.collect()
    assert place.documents() == [SAMPLE | {"run_id": "anything"}]


def test_the_order_of_fields_stays_as_it_was(place: Place) -> None:
    place.write("e/r.json", {"zeta": 1, "metrics": {"b": 1, "a": 2}, "alpha": 2, "experiment_id": "e", "run_id": "r"})
    place.collect()
    (document,) = place.documents()
    assert list(document) == ["zeta", "metrics", "alpha", "experiment_id", "run_id"]
    assert list(document["metrics"]) == ["b", "a"]


def test_missing_ids_are_taken_from_directory_and_name(place: Place) -> None:
    place.write("exp7/deeper/run-3.json", {"status": "COMPLETED"})
    place.collect()
    place.write("exp7/other/run-3.json", {"status": "FAILED"})
    place.collect()
    found = [(d["experiment_id"], d["run_id"]) for d in place.documents()]
    assert found == [("exp7", "deeper-run-3"), ("exp7", "other-run-3")]


def test_unknown_fields_are_kept_and_can_be_asked_for(place: Place) -> None:
    place.write("e/r.json", {"gpu": {"name": "A100", "count": 8}})
    place.collect()
    assert place.documents("gpu.count = 8")[0]["gpu"] == {"name": "A100", "count": 8}


def test_values_survive_that_other_parsers_bend(place: Place) -> None:
    odd = {"seed": 2**127 + 1, "text": "\ud800 \u0000 é 🚀", "tiny": 5e-324, "list": [1, [2, {"x": None}]]}
    place.write("e/r.json", {"config": odd})
    place.collect()
    assert place.documents()[0]["config"] == odd


def test_bare_nan_and_infinity_are_accepted(place: Place) -> None:
    place.write("e/r.json", '{"metrics": {"a": NaN, "b": -Infinity, "c": 1e999}}')
    place.collect()
    assert place.documents()[0]["metrics"] == {"a": "NaN", "b": "-Infinity", "c": "Infinity"}


def test_a_rewritten_file_updates_its_row(place: Place) -> None:
    place.write("e/r.json", {"status": "RUNNING", "metrics": {"a": 1}})
    place.collect()
    place.write("e/r.json", {"status": "COMPLETED"})
    place.collect()
    assert [(d["status"], d.get("metrics")) for d in place.documents()] == [("COMPLETED", None)]


def test_a_file_rewritten_within_the_clock_tick_is_read_again(place: Place) -> None:
    path = place.write("e/r.json", {"metrics": {"a": 1}})
    place.collect()
    before = path.stat()
    path.write_text('{"metrics": {"a": 2}}')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    place.collect()
    place.ahead_s += 1
    place.collect()
    assert place.documents()[0]["metrics"] == {"a": 2}


def test_a_row_that_changes_its_id_leaves_no_old_one_behind(place: Place) -> None:
    place.write("e/r.json", {"run_id": "one"})
    place.collect()
    place.write("e/r.json", {"run_id": "two!"})
    place.collect()
    assert place.ids() == ["two!"]


def test_a_deleted_file_keeps_its_row(place: Place) -> None:
    path = place.write("e/r.json", SAMPLE)
    place.collect()
    path.unlink()
    place.collect()
    assert place.ids() == ["r"]


def test_a_renamed_file_is_one_row_under_its_new_name(place: Place) -> None:
    path = place.write("e/old.json", {"status": "COMPLETED"})
    place.collect()
    path.rename(path.with_name("new.json"))
    place.collect()
    assert place.ids() == ["new"]


def test_of_two_files_the_higher_revision_wins_and_both_are_named(place: Place) -> None:
    place.write("e/a.json", {"run_id": "r", "revision": 3, "status": "COMPLETED"})
    place.collect()
    place.write("e/b.json", {"run_id": "r", "revision": 2, "status": "RUNNING"})
    place.collect()
    assert [d["status"] for d in place.documents()] == ["COMPLETED"]
    files = place.store.files_of_run("e", "r")
    assert [(os.path.basename(path), winner) for path, _, winner in files] == [("a.json", True), ("b.json", False)]


def test_of_two_files_of_one_revision_the_newer_wins(place: Place) -> None:
    for name, age in (("a", 0), ("b", 100)):
        path = place.write(f"e/{name}.json", {"run_id": "r", "notes": name})
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    place.collect()
    assert [d["notes"] for d in place.documents()] == ["a"]


@pytest.mark.parametrize("owner_first", [True, False])
def test_parts_give_their_metrics_and_the_owner_wins(place: Place, owner_first: bool) -> None:
    part = {"experiment_id": "e", "run_id": "r", "producer": "p", "metrics": {"a": 1, "b": 2}, "revision": 9}
    files = {"e/r.json": {"metrics": {"a": 10}, "status": "COMPLETED"}, "e/r.part-p.json": part}
    for name in sorted(files, reverse=not owner_first):
        place.write(name, files[name])
        place.collect()
    (document,) = place.documents()
    assert (document["metrics"], document["status"]) == ({"a": 10, "b": 2}, "COMPLETED")


def test_what_a_part_takes_back_is_gone_from_the_run(place: Place) -> None:
    place.write("e/r.json", {"metrics": {"a": 1}})
    place.write("e/r.part-p.json", {"metrics": {"b": 2}})
    place.collect()
    place.write("e/r.part-p.json", {"metrics": {"c": 3}})
    place.collect()
    assert place.documents()[0]["metrics"] == {"a": 1, "c": 3}


def test_names_that_begin_with_a_dot_and_other_endings_are_ignored(place: Place) -> None:
    for name in ("e/.r.json.tmp", "e/.r.json", ".e/r.json", "e/readme.txt", "e/r.json.bak"):
        place.write(name, SAMPLE)
    place.collect()
    assert (place.documents(), place.faults()) == ([], [])


@pytest.mark.parametrize("revision", [1, 9])
def test_a_run_that_is_taken_over_shows_its_last_attempt(place: Place, revision: int) -> None:
    place.write("e/r.json", {"attempt": 1, "revision": 5, "status": "KILLED", "metrics": {"gone": 1}})
    place.collect()
    place.write("e/r.json", {"attempt": 2, "revision": revision, "status": "COMPLETED"})
    place.collect()
    (document,) = place.documents()
    assert (document["attempt"], document["status"], document.get("metrics")) == (2, "COMPLETED", None)


def test_parts_alone_are_a_run_until_the_owner_arrives(place: Place) -> None:
    place.write("e/r.part-p2.json", {"run_id": "r", "metrics": {"a": 2, "b": 2}, "revision": 7})
    place.collect()
    assert [document["metrics"] for document in place.documents()] == [{"a": 2, "b": 2}]
    place.write("e/r.json", {"status": "RUNNING", "metrics": {"a": 1}, "revision": 1})
    place.collect()
    assert [(one["status"], one["metrics"]) for one in place.documents()] == [("RUNNING", {"a": 1, "b": 2})]


def test_a_new_file_with_the_inode_and_the_bytes_of_a_removed_one_is_another_run(place: Place) -> None:
    old = place.write("e/r.json", {"status": "COMPLETED"})
    place.collect()
    new = old.rename(old.with_name("s.json"))  # the same inode for sure
    new.write_text(new.read_text())
    place.collect()
    assert place.ids() == ["r", "s"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
@example(1 << 64)
@example([-(1 << 63) - 1, {"a": (1 << 63) - 1}])
@example([None, {"a": float("-inf")}])
@example({"a": [None, float("nan")], "\ud800": "\udfff"})
def test_what_is_read_and_kept_is_the_same_whichever_library_is_fast(value: Any) -> None:
    text = json.dumps(value)
    read = decode(text.encode())
    assert json.dumps(read) == json.dumps(json.loads(text, parse_constant=str))
    assert json.dumps(json.loads(dumped(value))) == json.dumps(finite(value))
