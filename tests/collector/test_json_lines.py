"""Appended JSON Lines: every whole line is a row once, whatever is done to the file in between."""

from __future__ import annotations

import os
import shutil

import pytest

from logferry_collector.store import writing
from logferry_collector.store.winner import Candidate
from support.collecting import Place

FILE = "e/all.jsonl"


def row(number: int, **more: object) -> dict[str, object]:
    return {"run_id": f"r{number}", "metrics": {"a": number}, **more}


def test_appended_lines_are_taken_from_the_cursor_on(place: Place) -> None:
    place.append(FILE, row(1), row(2))
    place.collect()
    before = place.store.files([str(place.home.results / FILE)])
    place.append(FILE, row(3))
    place.restart()
    place.collect()
    (state,) = place.store.files(list(before)).values()
    assert place.ids() == ["r1", "r2", "r3"]
    assert (state.lines, state.offset) == (3, (place.home.results / FILE).stat().st_size)


def test_rows_without_an_id_are_named_after_file_and_line(place: Place) -> None:
    place.append(FILE, {"status": "COMPLETED"}, "", {"status": "FAILED"})
    place.collect()
    assert place.ids() == ["all-1", "all-3"]


def test_a_bad_line_is_refused_at_once_and_later_lines_go_on(place: Place) -> None:
    place.append(FILE, row(1), "{oops", [1], {"run_id": "a/b"}, row(2))
    place.collect()
    assert place.ids() == ["r1", "r2"]
    assert place.faults() == [("all.jsonl", line, "invalid") for line in (2, 3, 4)]


def test_a_mended_line_is_a_row_and_no_reject_any_more(place: Place) -> None:
    place.append(FILE, row(1), "{oops", row(3))
    place.collect()
    place.write(FILE, "")
    place.append(FILE, row(1), row(2), row(3))
    place.collect()
    assert (place.ids(), place.faults()) == (["r1", "r2", "r3"], [])


def test_a_torn_last_line_waits_then_is_incomplete_then_good(place: Place) -> None:
    place.append(FILE, row(1), '{"run_id": "r', end="")
    place.collect()
    assert (place.ids(), place.faults()) == (["r1"], [])
    place.restart()
    place.settle()
    assert place.faults() == [("all.jsonl", 2, "incomplete")]
    place.append(FILE, '2"}')
    place.collect()
    assert (place.ids(), place.faults()) == (["r1", "r2"], [])


def test_a_last_line_without_its_line_feed_is_taken_when_nobody_writes_any_more(place: Place) -> None:
    place.append(FILE, row(1), row(2), end="")
    place.collect()
    assert place.ids() == ["r1"]
    place.settle()
    assert place.ids() == ["r1", "r2"]
    place.append(FILE, "", {"status": "COMPLETED"})
    place.collect()
    assert place.ids() == ["all-3", "r1", "r2"]


def test_the_same_run_twice_in_a_file_is_a_duplicate_unless_its_revision_rises(place: Place) -> None:
    place.append(FILE, row(1), row(1, status="FAILED"), row(1, status="COMPLETED", revision=1))
    place.collect()
    assert place.faults() == [("all.jsonl", 2, "duplicate")]
    assert [d["status"] for d in place.documents()] == ["COMPLETED"]


def test_copy_truncate_starts_from_the_beginning(place: Place) -> None:
    place.append(FILE, row(1), row(2))
    place.collect()
    path = place.home.results / FILE
    shutil.copy(path, path.with_name("all-old.jsonl"))
    os.truncate(path, 0)
    place.append(FILE, row(3))
    place.collect()
    assert place.ids() == ["r1", "r2", "r3"]


def test_truncated_and_grown_past_the_cursor_is_read_anew(place: Place) -> None:
    place.append(FILE, row(1))
    place.collect()
    place.write(FILE, "")
    place.append(FILE, row(2), row(3), row(4))
    place.collect()
    assert place.ids() == ["r2", "r3", "r4"]


def test_an_edit_in_place_is_read_anew(place: Place) -> None:
    place.append(FILE, row(1), row(2))
    place.collect()
    path = place.home.results / FILE
    path.write_bytes(path.read_bytes().replace(b"r1", b"r9"))
    place.collect()
    assert place.ids() == ["r2", "r9"]


def test_an_edit_far_before_the_cursor_is_read_anew(place: Place) -> None:
    place.append(FILE, row(1), *(row(number, notes="n" * 1000) for number in range(100, 200)))
    place.collect()
    path = place.home.results / FILE
    path.write_bytes(path.read_bytes().replace(b'"r1"', b'"r9"'))
    place.collect()
    assert ("r9" in place.ids(), "r1" in place.ids()) == (True, False)


def test_an_edit_just_before_the_cursor_of_a_long_file_that_grows_is_read_anew(place: Place) -> None:
    place.append(FILE, *(row(number, notes="n" * 1000) for number in range(100, 200)), row(1))
    place.collect()
    path = place.home.results / FILE
    with path.open("r+b") as file:
        file.write(path.read_bytes().replace(b'"r1"', b'"r9"'))
    place.append(FILE, row(2))
    place.collect()
    assert [run in place.ids() for run in ("r1", "r9", "r2")] == [False, True, True]


def test_a_file_that_was_renamed_and_written_anew_is_another_one(place: Place) -> None:
    place.append(FILE, row(1))
    place.collect()
    path = place.home.results / FILE
    other = path.with_name("other.jsonl")
    path.rename(other)
    with other.open("r+b") as file:  # its inode stays, and it is longer than it was
        file.truncate(0)
    place.append("e/other.jsonl", row(2), row(3), row(4))
    place.collect()
    assert place.ids() == ["r1", "r2", "r3", "r4"]


def test_a_rotated_file_keeps_its_rows_and_the_new_one_begins(place: Place) -> None:
    place.append(FILE, row(1))
    place.collect()
    path = place.home.results / FILE
    path.rename(path.with_name("all-1.jsonl"))
    place.append(FILE, row(2))
    place.collect()
    assert place.ids() == ["r1", "r2"]


def test_a_line_longer_than_one_read_is_refused_and_a_long_file_is_not(place: Place) -> None:
    place.append("e/long.jsonl", row(1), "x" * (9 << 20), row(2))
    place.append("e/many.jsonl", *(row(number, notes="y" * (1 << 20)) for number in range(10, 20)))
    place.collect()
    assert place.faults() == [("long.jsonl", 2, "too large")]
    assert place.ids() == ["r1", *(f"r{number}" for number in range(10, 20)), "r2"]


def test_revisions_of_a_run_in_one_file_are_compared_with_the_greatest_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    greatest = writing._greatest

    def counted(run: list[Candidate], file: int) -> tuple[int, int] | None:
        asked.append(len(run))
        return greatest(run, file)

    monkeypatch.setattr(writing, "_greatest", counted)
    place.append(FILE, *(row(1, revision=number) for number in (1, 3, 2, 3, 4)))
    place.collect()
    place.append(FILE, row(1, revision=4), row(1, revision=5))
    place.collect()
    assert place.faults() == [("all.jsonl", line, "duplicate") for line in (3, 4, 6)]
    assert [document["revision"] for document in place.documents()] == [5]
    assert asked == [0, 3]
