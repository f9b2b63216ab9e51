"""YAML, Parquet, Feather, Arrow and packed files: read whole, the same promises as JSON."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import yaml
import zstandard
from pyarrow import feather, parquet

from logferry_collector.formats import Content, format_of
from support.collecting import SAMPLE, Place

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def read(name: str, data: bytes) -> list[Any]:
    form = format_of(name)
    assert form is not None
    found = form.parse(Content(data))
    assert not found.rejects, found.rejects
    assert not found.unfinished, found.unfinished
    return [document for _, document in found.documents]


def refusal(name: str, data: bytes) -> str:
    form = format_of(name)
    assert form is not None
    found = form.parse(Content(data))
    assert found.documents == []
    return found.unfinished or found.rejects[0].reason


FRAME = pd.DataFrame(
    {
        "run_id": ["a", "b"],
        "config.lr": [0.1, 0.2],
        "metrics.acc": [0.5, None],
        "n": [1, 2],
        "ok": [True, False],
        "when": pd.to_datetime(["2025-01-01T00:00:00.5", None]),
        "kind": pd.Categorical(["x", "y"]),
        "list": [[1, 2], None],
    }
)
ROWS = [
    {"run_id": "a", "config": {"lr": 0.1}, "metrics": {"acc": 0.5}, "n": 1, "ok": True}
    | {"when": "2025-01-01T00:00:00.500000Z", "kind": "x", "list": [1, 2]},
    {"run_id": "b", "config": {"lr": 0.2}, "n": 2, "ok": False, "kind": "y"},
]


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.arrow", "t.arrows"])
def test_tables_of_pandas_pyarrow_and_polars_read_the_same(root: Path, name: str) -> None:
    path = root / name
    table = pa.Table.from_pandas(FRAME)

    def by_pyarrow() -> None:
        opened = pa.ipc.new_stream if name.endswith("s") else pa.ipc.new_file
        with opened(str(path), table.schema) as writer:
            writer.write_table(table)

    writers: dict[str, list[Callable[[], Any]]] = {
        "t.parquet": [
            lambda: FRAME.to_parquet(path),
            lambda: parquet.write_table(table, path, row_group_size=1),
            lambda: pl.from_arrow(table).write_parquet(path),  # type: ignore[union-attr]
        ],
        "t.feather": [lambda: FRAME.to_feather(path), lambda: feather.write_feather(table, str(path), "zstd")],
        "t.arrow": [by_pyarrow, lambda: pl.from_arrow(table).write_ipc(path)],  # type: ignore[union-attr]
        "t.arrows": [by_pyarrow],
    }
    for write in writers[name]:
        write()
        assert read(name, path.read_bytes()) == ROWS


def test_an_index_of_pandas_is_a_column_and_a_numbering_is_none(root: Path) -> None:
    FRAME[["n"]].set_index(pd.Index(["p", "q"])).to_parquet(root / "t.parquet")
    assert read("t.parquet", (root / "t.parquet").read_bytes())[0] == {"index": "p", "n": 1}


def test_a_half_written_table_waits_then_is_incomplete_then_rows(place: Place, root: Path) -> None:
    FRAME.to_parquet(root / "t.parquet")
    data = (root / "t.parquet").read_bytes()
    place.write("e/t.parquet", data[:-10])
    place.collect()
    assert place.faults() == []
    place.settle()
    assert place.faults() == [("t.parquet", 0, "incomplete")]
    place.write("e/t.parquet", data)
    place.collect()
    assert (place.ids(), place.faults()) == (["a", "b"], [])


def test_a_table_of_too_many_cells_is_refused_by_its_head(root: Path) -> None:
    parquet.write_table(pa.table({"x": pa.repeat(1, 6_000_000)}), root / "t.parquet")
    data = (root / "t.parquet").read_bytes()
    assert len(data) < 1 << 20
    assert "6000000 rows of 1 columns; at most" in refusal("t.parquet", data)


def test_a_yaml_document_is_a_result_and_several_are_rows(place: Place) -> None:
    place.write("exp042/anything.yaml", yaml.safe_dump(SAMPLE, sort_keys=False))
    place.write("e/more.yml", "run_id: a\n---\nrun_id: b\nconfig: {lr: 1e-3, nan: .nan}\n")
    place.write("e/list.yml", "- run_id: c\n- metrics: {acc: .5}\n")
    place.collect()
    assert sorted(place.ids()) == ["a", "anything", "b", "c", "list-2"]
    assert place.documents("experiment_id = exp042") == [SAMPLE | {"run_id": "anything"}]
    assert place.documents("run_id = b")[0]["config"] == {"lr": 0.001, "nan": "NaN"}


BOMB = "a0: &a0 [1,2,3,4,5,6,7,8,9]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "values, aliases counted"),
        (MERGES, "values, aliases counted"),
        ("a: &a [*a]", "holds itself"),
        ("[" * 500, "nested deeper"),
        ("a: 1\na: 2", "the key 'a' comes twice at line 2"),
        ("a: !!python/object/apply:os.system [touch /tmp/lf-pwned]", "not plain data"),
        ("x: 0x" + "f" * 5000, "a number is too long"),
        ("x: 2025-13-45", "not plain data"),
        ("? [1, 2]\n: 3\n? {a: 1}\n: 4", "not plain data"),
        ("a: [1", "not YAML"),
        ("# nothing", "no document"),
    ],
)
def test_yaml_that_is_hostile_or_broken_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert reason in refusal("x.yaml", text.encode())


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.csv", "r.yaml", "r.parquet"])
def test_every_format_is_read_packed_too(root: Path, codec: str, name: str) -> None:
    data = {"r.json": b'{"n": 1}', "r.jsonl": b'{"n": 1}\n', "r.csv": b"n\n1\n", "r.yaml": b"n: 1"}.get(name)
    if data is None:
        pd.DataFrame({"n": [1]}).to_parquet(root / name)
        data = (root / name).read_bytes()
    assert read(f"{name}.{codec}", PACKERS[codec](data)) == [{"n": 1}]


@pytest.mark.parametrize("codec", PACKERS)
def test_members_one_after_the_other_are_one_content_and_half_a_member_is_not_whole(codec: str) -> None:
    pack = PACKERS[codec]
    both = pack(b'{"n": 1}\n{"n"') + pack(b": 2}\n" + os.urandom(9).hex().encode() * 0)
    assert read(f"x.jsonl.{codec}", both) == [{"n": 1}, {"n": 2}]
    for cut in (len(both) - 3, 5):
        assert refusal(f"x.jsonl.{codec}", both[:cut]) == "the archive ends in its middle"
    assert "cannot be unpacked" in refusal(f"x.jsonl.{codec}", b"no archive at all, and not short")


@pytest.mark.parametrize("codec", PACKERS)
def test_what_unpacks_to_too_much_is_refused_with_little_memory(codec: str) -> None:
    bomb = PACKERS[codec](bytes(24 << 20))
    script = (
        "import sys; from logferry_collector.formats import Content, format_of, packed; data = sys.stdin.buffer.read()"
        "\npacked.MAX_UNPACKED = 4 << 20"
        f"\nprint(format_of('x.json.{codec}').parse(Content(data)).rejects[0].reason)"
        "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True, check=True)
    reason, kilobytes = done.stdout.decode().splitlines()
    assert reason.startswith("unpacks to more than 4 MiB")
    assert int(kilobytes) < 64 << 10


def test_a_half_written_archive_waits_and_is_taken_when_it_is_whole(place: Place) -> None:
    data = gzip.compress(b'{"run_id": "a"}\n{"run_id": "b"}\n')
    place.write("e/x.jsonl.gz", data[:-8])
    place.collect()
    assert (place.ids(), place.faults()) == ([], [])
    place.settle()
    assert place.faults() == [("x.jsonl.gz", 0, "incomplete")]
    place.write("e/x.jsonl.gz", data)
    place.collect()
    assert (place.ids(), place.faults()) == (["a", "b"], [])


def test_a_format_whose_package_is_missing_says_which_extra_brings_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    FRAME.to_parquet(place.write("e/t.parquet", ""))
    with monkeypatch.context() as patch:
        patch.setattr("logferry_collector.formats.arrow.find_spec", lambda _: None)
        place.collect()
        assert place.store.rejects()[0][1].reason == "needs pyarrow; install it with: pip install 'logferry[all]'"
        place.restart()
        assert place.collect() == 0
    place.restart()
    place.collect()
    assert (place.ids(), place.faults()) == (["a", "b"], [])


def test_a_collector_that_sees_no_tables_imports_no_library_for_them() -> None:
    script = (
        "import sys, logferry_collector.service as s; print({'pandas', 'pyarrow', 'yaml', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"set()\n"
