"""Small files that stand for much: refused before they fill the memory, with what to do instead."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from logferry_collector import tail
from logferry_collector.formats import Content, format_of
from logferry_collector.formats.content import MAX_CELLS, MAX_ROWS
from support.collecting import Place


def refusal(name: str, data: bytes) -> str:
    form = format_of(name)
    assert form is not None
    found = form.parse(Content(data))
    assert not found.documents
    return found.unfinished or found.rejects[0].reason


def ipc(*batches: pa.RecordBatch, new: Callable[..., Any] = pa.ipc.new_file, compression: str | None = None) -> bytes:
    into = io.BytesIO()
    with new(into, batches[0].schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return into.getvalue()


def column(array: Any) -> pa.RecordBatch:
    return pa.record_batch({"x": array})


LONG = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int16()), pa.array(["y" * 100_000]))


def test_one_text_of_a_dictionary_in_many_rows_is_counted_for_each() -> None:
    into = io.BytesIO()
    parquet.write_table(pa.table({"x": LONG}), into)
    assert len(into.getvalue()) < 1 << 20
    for name, data in (
        ("t.parquet", into.getvalue()),
        ("t.arrow", ipc(column(LONG))),
        ("t.feather", ipc(column(LONG))),
    ):
        assert refusal(name, data) == "unpacks to more than 256 MiB of text"


NOTHINGS = pa.nulls(MAX_CELLS + 1)


@pytest.mark.parametrize(
    "array",
    [
        pa.ListArray.from_arrays(pa.array([0, len(NOTHINGS)], pa.int32()), NOTHINGS),
        pa.FixedSizeListArray.from_arrays(NOTHINGS, len(NOTHINGS)),
        pa.ListArray.from_arrays(
            pa.array([0, len(NOTHINGS)], pa.int32()),
            pa.StructArray.from_buffers(pa.struct([]), len(NOTHINGS), [None]),
        ),
        pa.StructArray.from_arrays([pa.FixedSizeListArray.from_arrays(NOTHINGS, len(NOTHINGS))], ["a"]),
    ],
    ids=["list", "fixed", "empty", "inner"],
)
def test_lists_of_nothing_are_counted_by_what_is_in_them(array: Any) -> None:
    assert refusal("t.arrow", ipc(column(array))) == f"more than {MAX_CELLS} values"


def test_values_of_a_list_in_parquet_are_counted_before_they_are_made() -> None:
    into = io.BytesIO()
    parquet.write_table(pa.table({"x": pa.array([[None] * (MAX_CELLS + 1)], pa.list_(pa.int8()))}), into)
    assert refusal("t.parquet", into.getvalue()) == f"more than {MAX_CELLS} values"


def test_kinds_that_may_overlap_are_refused_by_name() -> None:
    views = pa.ListViewArray.from_arrays(pa.array([0] * 9, pa.int32()), pa.array([2] * 9, pa.int32()), pa.array([1, 2]))
    assert refusal("t.arrow", ipc(column(views))).startswith("has a column of Arrow's type list_view")


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_what_is_packed_is_not_unpacked_to_learn_its_size(monkeypatch: pytest.MonkeyPatch, new: Any) -> None:
    zeros = column(pa.FixedSizeBinaryArray.from_buffers(pa.binary(1 << 20), 90, [None, pa.py_buffer(bytes(90 << 20))]))
    data = ipc(zeros, zeros, zeros, new=new, compression="zstd")
    assert len(data) < 1 << 20

    def unpacked(*_: Any) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(pa.ipc, "open_file", unpacked)
    monkeypatch.setattr(pa.ipc, "open_stream", unpacked)
    assert refusal("t.arrow", data) == "unpacks to 270 MiB; at most 256 MiB are read"


@pytest.mark.parametrize(
    ("array", "was", "becomes"),
    [
        (pa.array(["aaaa", "bbbb", "cc"]), (0, 4, 8, 10), (0, 4, 8, 1_000_000)),
        (pa.array(["aaaa", "bbbb", "cc"]), (0, 4, 8, 10), (0, 8, 4, 10)),
        (pa.array(["aaaa", "bbbb", "cc"]), (0, 4, 8, 10), (-1_000_000, 4, 8, 10)),
        (pa.array([[7, 8], [9]]), (0, 2, 3), (0, 2, 1_000_000)),
        (pa.DictionaryArray.from_arrays([0, 1, 0, 1], ["xx", "yy"]).cast(pa.dictionary(pa.int32(), pa.string())),
         (0, 1, 0, 1), (0, 1_000_000, 0, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_offsets_and_indices_that_point_elsewhere_are_told_and_never_followed(
    array: Any, was: tuple[int, ...], becomes: tuple[int, ...], new: Any
) -> None:
    data = ipc(column(array), new=new)
    old = struct.pack(f"<{len(was)}i", *was)
    assert data.count(old) == 1
    assert refusal("t.arrow", data.replace(old, struct.pack(f"<{len(was)}i", *becomes))).startswith(
        "not Arrow: In column"
    )


def test_tables_with_texts_of_all_kinds_are_read_as_they_are() -> None:
    texts = ["a", None, "x" * 100, "é", "a"]
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
    table = pa.table({f"c{number}": pa.array(texts).cast(kind) for number, kind in enumerate(kinds)} | {"n": range(5)})
    want = [{"n": n} | ({f"c{c}": text for c in range(len(kinds))} if text else {}) for n, text in enumerate(texts)]
    for compression in (None, "lz4", "zstd"):
        for new in (pa.ipc.new_file, pa.ipc.new_stream):
            data = ipc(*table.to_batches(max_chunksize=2), new=new, compression=compression)
            assert [one for _, one in _read("t.arrow", data)] == want
    into = io.BytesIO()
    pl.DataFrame({"c": pl.Series(["x", None, "y"], dtype=pl.Categorical)}).write_ipc(into, compression="zstd")
    assert [one for _, one in _read("t.arrow", into.getvalue())] == [{"c": "x"}, {}, {"c": "y"}]


def _read(name: str, data: bytes) -> list[tuple[int, Any]]:
    form = format_of(name)
    assert form is not None
    found = form.parse(Content(data))
    assert not found.rejects
    assert not found.unfinished
    return found.documents


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("r.json", b"[" + b"[]," * 3_000_000 + b"1]", "values; as JSON lines they can be read in parts"),
        ("r.json", b"[" + b"{}," * MAX_ROWS + b"{}]", "rows; at most 500000 are read, of files of lines any number"),
        ("r.jsonl.gz", gzip.compress(b"{}\n" * (MAX_ROWS + 1), 1), "values; unpacked it can be read in parts"),
        ("r.csv.gz", gzip.compress(b"a\n" + b"1\n" * MAX_ROWS, 1), "values; unpacked it can be read in parts"),
        ("r.csv.gz", gzip.compress(b"a\n" + b",\n" + b"," * MAX_CELLS, 1), "values; unpacked it can be read in parts"),
    ],
)
def test_more_values_than_fit_are_refused_with_the_way_out(name: str, data: bytes, reason: str) -> None:
    assert refusal(name, data).endswith(reason)


@pytest.mark.parametrize("name", ["all.jsonl", "all.csv"])
def test_a_file_of_many_short_lines_is_read_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tail, "_MAX_LINES", 3)
    lines = [f'{{"run_id": "r{n}"}}' for n in range(10)] if name.endswith("jsonl") else ["run_id", *map(str, range(10))]
    place.append(f"e/{name}", *lines)
    place.append(f"e/{name}", lines[-1].replace("9", "last"), end="")
    place.collect()
    assert len(place.documents()) == 10
    place.settle()
    assert len(place.documents()) == 11
    assert not place.faults()
