"""CSV and TSV: a row is a result, whoever wrote the file and however it grew."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry_collector.export import to_csv
from logferry_collector.formats import Content
from logferry_collector.formats.csv import CSV
from support.collecting import SAMPLE, Place
from support.depth import depth

FILE = "e/all.csv"


def parsed(text: str | bytes, **more: Any) -> list[dict[str, Any]]:
    data = text if isinstance(text, bytes) else text.encode()
    return [document for _, document in CSV().parse(Content(data, **more)).documents]


def reasons(text: str) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for reject in CSV().parse(Content(text.encode())).rejects]


def test_a_row_is_a_result_with_its_columns_in_their_places(place: Place) -> None:
    place.write(FILE, "run_id,config.lr,metrics.acc,status,colour\n007,0.1,0.9,FINISHED,red\n8,1,,FAILED,\n")
    place.collect()
    assert place.documents() == [
        {"run_id": "007", "config": {"lr": 0.1}, "metrics": {"acc": 0.9}, "status": "COMPLETED", "colour": "red"}
        | {"experiment_id": "e"},
        {"run_id": "8", "config": {"lr": 1}, "status": "FAILED", "experiment_id": "e"},
    ]


def test_appended_rows_are_taken_from_the_cursor_on_with_the_header_they_have(place: Place) -> None:
    place.write(FILE, "# made by hand\n\nname;seed;acc\na;1;0.5\n")
    place.collect()
    place.append(FILE, "b;2;0.75")
    place.restart()
    place.collect()
    assert [(d["run_id"], d["config"]["seed"], d["metrics"]["acc"]) for d in place.documents()] == [
        ("all-4", 1, 0.5),
        ("all-5", 2, 0.75),
    ]


def test_a_row_that_comes_later_changes_no_type_of_earlier_ones(place: Place) -> None:
    place.write(FILE, "run_id,x\na,1\n")
    place.collect()
    place.append(FILE, "b,one", "c,1.5", "d,")
    place.collect()
    appended = place.documents()
    place.write("e2/all.csv", (place.home.results / FILE).read_text())
    place.collect()
    assert [d.get("x") for d in appended] == [1, "one", 1.5, None]
    assert [d.get("x") for d in place.documents("experiment_id = e2")] == [1, "one", 1.5, None]


def test_a_torn_last_row_waits_and_a_cell_cut_in_the_middle_is_mended(place: Place) -> None:
    place.write(FILE, "run_id,acc\na,0.5\nb,0.7")
    place.collect()
    assert place.ids() == ["a"]
    place.settle()
    assert place.ids() == ["a", "b"]
    place.append(FILE, "5", "c,1")
    place.collect()
    assert [d["metrics"]["acc"] for d in place.documents()] == [0.5, 0.75, 1]


@pytest.mark.parametrize("end", ['c,"op', "c", 'run_id,x\nc,"a\n\nb'])
def test_a_last_row_that_is_no_row_is_incomplete_and_the_rows_before_stand(place: Place, end: str) -> None:
    place.write(FILE, f"run_id,x\na,1\n{end}")
    place.settle()
    assert place.ids() == ["a"]
    assert [fault for _, _, fault in place.faults()] == ["incomplete"]


@pytest.mark.parametrize("content", ["", "run_id,acc", "# only a comment\n"])
def test_a_header_that_is_not_whole_waits(place: Place, content: str) -> None:
    place.write(FILE, content)
    place.collect()
    assert place.faults() == []


def test_bad_rows_are_refused_by_themselves() -> None:
    text = 'a,b\n1,2\n1\n1,2,3\n"x"y,2\n3,4\n'
    assert [number for number, _ in reasons(text)] == [3, 4, 5]
    assert parsed(text) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert reasons(text)[0][1] == "1 cells, and the header has 2"
    assert parsed(b"a,b\n\xff,1\n2,3\n") == [{"a": 2, "b": 3}]


@pytest.mark.parametrize(
    ("header", "reason"),
    [("1,2", "no header"), ("a,,b", "column 2 has no name"), ("a,a", "two columns are named 'a'")],
)
def test_a_file_without_a_header_is_refused_and_says_what_to_do(header: str, reason: str) -> None:
    ((line, found),) = reasons(f"{header}\n1,2\n")
    assert (line, reason in found) == (0, True)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    assert parsed(f"a{delimiter}b\n1{delimiter}x y\n") == [{"a": 1, "b": "x y"}]


def test_a_mark_of_the_byte_order_carriage_returns_and_repeated_headers_are_no_data() -> None:
    assert parsed(b"\xef\xbb\xbfa,b\r\n1,2\r\na,b\r\n\r\n3,4\r\n") == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_a_comment_between_rows_is_none_and_a_row_may_begin_like_one() -> None:
    text = "run_id,b\n#1,2\n# a comment\nx,4\n# an, other, one\n"
    assert (parsed(text), reasons(text)) == ([{"run_id": "#1", "b": 2}, {"run_id": "x", "b": 4}], [])


def test_a_quote_that_is_never_closed_costs_no_more_than_its_lines() -> None:
    text = 'a,b\n1,"open\n' + "2,3\n" * 60_000
    found = CSV().parse(Content(text.encode()))
    assert [reject.line for reject in found.rejects] == [2]
    assert len(found.documents) > 25_000


@pytest.mark.parametrize("cell", ["007", "1_000", "0,5", "63%", "None", "+5", "1e9999", "-", ".", "1.2.3", "٣", "- 1"])
def test_what_a_number_would_lose_stays_text(cell: str) -> None:
    assert parsed(f'x,y\n"{cell}",1\n') == [{"x": cell, "y": 1}]


def test_cells_say_numbers_truth_and_what_is_not_finite() -> None:
    (found,) = parsed("a,b,c,d,e,f,g,h\n-1,1e-3,.5,True,false,nan,-inf,[1]\n")
    assert list(found.values()) == [-1, 0.001, 0.5, True, False, "NaN", "-Infinity", [1]]


CELLS = st.one_of(
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(lambda text: text.strip() != ""),
)


WORDS = {"true", "false", "nan", "inf", "infinity"}


def _as_text(value: Any) -> bool:
    """Say whether a text can be told from another type by its cell."""
    return isinstance(value, str) and (value[0] in "-.0123456789[{\ufeff" or value.lower() in WORDS)


@depth(30)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.integers(0, 200))
def test_what_the_csv_module_wrote_comes_back_equal_however_it_is_cut(rows: list[Any], cut: int) -> None:
    rows = [row for row in rows if not any(map(_as_text, row))]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["p q", "r"])
    writer.writerows(rows)
    data = file.getvalue().encode()
    first = CSV().parse(Content(data[:cut], end=False))
    second = CSV().parse(Content(data[first.taken :], first.lines, head=data[:65536]))
    found = [document for _, document in first.documents + second.documents]
    assert [tuple(document.values()) for document in found] == [
        tuple(str(v) if isinstance(v, str) else v for v in row) for row in rows
    ]
    assert [document for _, document in CSV().parse(Content(data)).documents] == found


FRAME = {"run_id": ["a", "b"], "config.lr": [0.1, 1e-30], "n": [1, 2], "ok": [True, False], "t": ['x,\n"y"', "é"]}


@pytest.mark.parametrize("separator", [",", "\t"])
def test_files_of_pandas_and_polars_read_the_same(separator: str) -> None:
    want = [
        {"run_id": "a", "config": {"lr": 0.1}, "n": 1, "ok": True, "t": 'x,\n"y"'},
        {"run_id": "b", "config": {"lr": 1e-30}, "n": 2, "ok": False, "t": "é"},
    ]
    assert parsed(pd.DataFrame(FRAME).to_csv(index=False, sep=separator)) == want
    assert parsed(pl.DataFrame(FRAME).write_csv(separator=separator)) == want
    (first, _) = parsed(pd.DataFrame(FRAME).to_csv(sep=separator))
    assert first == {"index": 0} | want[0]


def test_what_pandas_appends_with_and_without_a_header_is_rows(place: Place) -> None:
    path = place.write(FILE, "")
    for run in "abc":
        pd.DataFrame({"run_id": [run], "acc": [0.5]}).to_csv(path, mode="a", index=False, header=run != "b")
        place.collect()
    assert place.ids() == ["a", "b", "c"]


def test_our_own_export_comes_back_equal(place: Place, root: Path) -> None:
    place.write("exp042/r.json", SAMPLE | {"tags": ["a", "b"], "config": {"deep": {"lr": 1e-4}, "list": [1, 2]}})
    place.collect()
    documents = place.documents()
    to_csv(documents, root / "out.csv")
    assert parsed((root / "out.csv").read_bytes()) == documents


def test_rows_of_a_rewritten_file_are_replaced(place: Place) -> None:
    path = place.write(FILE, "run_id,acc\na,1\nb,2\n")
    place.collect()
    pd.DataFrame({"run_id": ["b", "c"], "acc": [3, math.pi]}).to_csv(path, index=False)
    os.utime(path)
    place.collect()
    assert [(d["run_id"], d["metrics"]["acc"]) for d in place.documents()] == [("b", 3), ("c", math.pi)]


def test_a_json_list_is_rows_and_one_bad_row_is_refused_by_itself(place: Place) -> None:
    path = place.write("e/list.json", [{"run_id": "a"}, 7, {"metrics": {"x": 1}}])
    place.collect()
    assert (place.ids(), place.faults()) == (["a", "list-3"], [("list.json", 2, "invalid")])
    path.write_text(json.dumps([]))
    place.collect()
    assert (place.ids(), place.faults()) == ([], [])


def test_flat_json_of_pandas_gets_its_sections(place: Place) -> None:
    frame = pd.DataFrame({"run_id": ["a"], "config.lr": [0.1], "metrics.acc": [0.5], "other": [1]})
    frame.to_json(place.write("e/a.jsonl", ""), orient="records", lines=True)
    frame.to_json(place.write("f/a.json", ""), orient="records")
    place.collect()
    for document in place.documents():
        assert (document["config"], document["metrics"], document["other"]) == ({"lr": 0.1}, {"acc": 0.5}, 1)


def test_a_header_of_any_width_is_known_to_rows_that_come_later(place: Place) -> None:
    names = ",".join(f"metrics.column_{number}" for number in range(15_000))
    place.append("e/wide.csv", f"run_id,{names}")
    place.collect()
    place.append("e/wide.csv", "a" + ",1" * 15_000)
    place.append("e/long.csv", "x" * (1 << 20), "1")
    place.collect()
    assert (place.ids(), place.faults()) == (["a"], [("long.csv", 0, "invalid")])
