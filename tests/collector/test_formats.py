"""YAML, Parquet, Feather, Arrow and packed files: read whole, the same promises as JSON."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import subprocess
import sys
import time
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
from logferry_collector.formats.packed import unpacked
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


def test_one_long_text_in_many_rows_is_refused_before_it_fills_the_memory(root: Path) -> None:
    # Written as one text, and nothing in the file says that it was a dictionary.
    table = pa.table({"x": pa.DictionaryArray.from_arrays([0] * 10_000, ["y" * 100_000])})
    parquet.write_table(table, root / "t.parquet", compression="zstd", store_schema=False)
    assert parquet.read_schema(root / "t.parquet").field("x").type == pa.string()
    data = (root / "t.parquet").read_bytes()
    assert len(data) < 1 << 20
    assert refusal("t.parquet", data).endswith("unpacks to more than 256 MiB of text")


def test_yaml_that_says_nothing_of_a_result_is_none(place: Place) -> None:
    place.write("e/config.yaml", "model: {name: resnet}\ntrain: {lr: 0.1}\ndataset: cifar\n")
    place.write("e/compose.yml", "version: 3\n---\nservices: {}\n")
    place.write("e/bare.yml", "val_accuracy: 0.5\n")
    place.write("e/flat.yml", "metrics.mine: 1\n")
    place.collect()
    assert sorted(place.ids()) == ["bare", "flat"]
    assert place.faults() == [("compose.yml", 0, "invalid"), ("config.yaml", 0, "invalid")]
    assert "no result: one in YAML has experiment_id, metrics" in place.store.rejects()[0][1].reason


FLAT = {"run_id": "a", "lr": 0.1, "val_acc": 0.5, "config.depth": 3, "status": "finished", "throughput": 12}


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "yaml", "parquet", "pkl"])
def test_a_flat_row_is_the_same_result_in_every_format(suffix: str) -> None:
    writers: dict[str, Callable[[], bytes]] = {
        "json": lambda: json.dumps(FLAT).encode(),
        "jsonl": lambda: json.dumps(FLAT).encode() + b"\n",
        "csv": lambda: pd.DataFrame([FLAT]).to_csv(index=False).encode(),
        "yaml": lambda: yaml.safe_dump(FLAT).encode(),
        "parquet": lambda: pd.DataFrame([FLAT]).to_parquet(index=False),
        "pkl": lambda: pickle.dumps(FLAT),
    }
    result = {"run_id": "a", "status": "COMPLETED", "throughput": 12}
    assert read(f"t.{suffix}", writers[suffix]()) == [
        result | {"config": {"lr": 0.1, "depth": 3}, "metrics": {"val_acc": 0.5}}
    ]


def test_a_document_with_metrics_stays_as_it_is_and_one_with_only_a_configuration_does_not() -> None:
    whole = {"metrics": {}, "loss": 1, "status": "finished", "notes": None}
    assert read("t.json", json.dumps(whole).encode()) == [whole]
    mixed = {"config": {"lr": 0.1}, "seed": 3, "loss": 1}
    assert read("t.json", json.dumps(mixed).encode()) == [{"config": {"lr": 0.1, "seed": 3}, "metrics": {"loss": 1}}]


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
    some = {
        "r.json": b'{"status": "x"}',
        "r.jsonl": b'{"status": "x"}\n',
        "r.csv": b"status\nx\n",
        "r.yaml": b"status: x",
    }
    data = some.get(name)
    if data is None:
        pd.DataFrame({"status": ["x"]}).to_parquet(root / name)
        data = (root / name).read_bytes()
    assert read(f"{name}.{codec}", PACKERS[codec](data)) == [{"status": "x"}]


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


LONG = "9" * 400
ODD = {
    "r.json": [
        '{"config.x": 1, "started": Infinity}',
        '{"config.x": 1, "started": NaN}',
        f'{{"config.x": 1, "timestamp": {LONG}}}',
        '{"config.x": 1, "started": -1e11}',
        '[{"config.x": 1, "started": 1e999}]',
        f'{{"config.x": {"[" * 60}1{"]" * 60}}}',
    ],
    "r.jsonl": ['{"config.x": 1, "started": 1e999}', '{"config.x": 1, "started": 1e999}\n'],
    "r.yaml": ["config.x: 1\nrun_id: a\nstarted: .inf\n"],
    "r.csv": [f"config.x,started\n1,{LONG}\n", "config.x,started\n1,1e999\n", "config.x,duration_s\n1,5 fortnights\n"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in ODD.items() for text in texts])
def test_a_time_that_is_none_ends_nothing(place: Place, name: str, text: str) -> None:
    place.write(f"e/{name}", text)
    place.write("e/good.json", SAMPLE)
    place.settle()
    other = [one for one in place.documents() if one["run_id"] != "good"]
    assert len(place.ids()) == 1 + len(other)
    assert len(other) + len(place.faults()) == 1
    if "timestamp" in text:
        assert place.store.rejects()[0][1].reason == "timestamp is a int, expected str"


def test_a_span_of_any_length_is_one_and_a_name_of_many_dots_is_a_name(place: Place) -> None:
    place.write("e/r.csv", f"config.{'a.' * 5000}b,tags.{'a.' * 5000}b,duration_s\n1,x,99999999999 days 1:00:00\n")
    place.settle()
    (found,) = place.documents()
    assert (found["config"], found["duration_s"]) == ({"a." * 5000 + "b": 1}, 99999999999 * 86400 + 3600.0)


@pytest.mark.parametrize("codec", PACKERS)
def test_many_small_members_cost_what_each_costs(codec: str) -> None:
    member = PACKERS[codec](b'{"n": 1}\n')
    took_s = []
    for count in (2_000, 16_000):
        before_s = time.process_time()
        assert unpacked(member * count, f".{codec}") == b'{"n": 1}\n' * count
        took_s.append(time.process_time() - before_s)
    assert took_s[1] < 25 * took_s[0]  # 64 if all that lies behind were copied for each
