"""An export needs as much memory for many results as for few, and is the same text as if it had been made at once."""

from __future__ import annotations

import csv
import json
import tracemalloc
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import main
from logferry_collector import export, frames, kept
from logferry_collector.columns import columns_of
from logferry_collector.output import json_text
from support.collecting import Place

FEW, MANY = 100, 1_000


def result(number: int) -> dict[str, Any]:
    return {
        "run_id": f"r{number:05}",
        "config": {f"key{key}": f"value {number} {key}" for key in range(20)} | {f"own{number % 7}": number},
        "metrics": {"acc": "NaN" if number % 3 else number / 7, "large": 1 << 70},
    }


@pytest.fixture(autouse=True)
def here(node_dir: Path, home: Path) -> None:
    """`logferry results` asks the store of this place."""


@pytest.fixture
def sizes(place: Place) -> Place:
    """Return a place with many results of `many` and few of `few`."""
    for name, count in (("many", MANY), ("few", FEW)):
        place.append(f"{name}/r.jsonl", *map(result, range(count)))
    place.collect()
    return place


def peak(*arguments: str) -> int:
    tracemalloc.start()
    assert main(["results", *arguments]) == 0
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("columns", [(), ("--columns", "run_id,acc,key1")])
def test_memory_does_not_grow_with_the_number_of_results(
    root: Path, columns: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 10_000)
    monkeypatch.setattr(frames, "_GROUP_VALUES", 300)
    for form in ("json", "jsonl", "csv", "parquet", "md", "tex"):
        where = {
            name: ("experiment_id = " + name, *columns, "--output", str(root / f"{name}.{form}"))
            for name in ("few", "many")
        }
        main(["results", *where["few"]])  # imports
        few, many = peak(*where["few"]), peak(*where["many"])
        assert many < 1.3 * few + 50_000, form
        least = 2 if form == "parquet" else 9
        assert (root / f"many.{form}").stat().st_size > least * (root / f"few.{form}").stat().st_size


@pytest.mark.usefixtures("sizes")
def test_a_table_needs_no_more_memory_for_many_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 10_000)
    with open("/dev/null", "w") as nowhere:
        monkeypatch.setattr("sys.stdout", nowhere)
        few, many = ("experiment_id = few",), ("experiment_id = many",)
        main(["results", *few])  # imports
        assert peak(*many) < 1.3 * peak(*few) + 50_000


def test_what_comes_in_pieces_is_what_would_come_at_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append(
        "e/r.jsonl",
        *map(result, range(20)),
        {"run_id": "s", "notes": 'ünï\u2028\ud800\n"b"', "config": {"a.b": [1, {}], "late": -0.0}},
    )
    place.collect()
    documents = place.documents()
    assert len(documents) == 21
    text = StringIO()
    export.write_json(documents, text)
    assert text.getvalue() == json_text(documents) + "\n"
    rows = [export.flat(document) for document in documents]
    with kept.kept(iter(rows), columns_of) as (columns, again):
        read = list(again)
    assert (columns[0], columns[-2:]) == ("run_id", ["metrics.acc", "metrics.large"])
    assert json.dumps(read) == json.dumps(rows)
    for empty in ("json", "csv"):
        assert main(["results", "run_id = nope", "--format", empty]) == 0
    assert capsys.readouterr().out == "[]\n\n"
    place.reader.results().to_csv(place.home.path / "out.csv")
    with (place.home.path / "out.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [one["config.late"] for one in found] == [""] * 20 + ["-0.0"]


def test_a_query_that_fails_leaves_an_older_export_alone(place: Place, root: Path) -> None:
    place.write("e/r.json", {"metrics": {"acc": 1}})
    place.collect()
    (root / "out.jsonl").write_text("older\n")
    place.store.database.connection.execute("DROP TABLE candidate")  # type: ignore[attr-defined]
    assert main(["results", "--output", str(root / "out.jsonl")]) != 0
    assert (root / "out.jsonl").read_text() == "older\n"


def test_a_parquet_table_is_the_same_in_however_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 1, "c": 1, "d": 1, "e": True, "f": None, "g": "x"},
        {"a": 0.5, "b": (1 << 64) - 1, "c": 1 << 70, "d": "late", "e": None, "g": [1, "\ud800"]},
        {"a": None, "b": 2, "c": -1, "d": False, "late": {"a": 1}},
        {"a": (1 << 53) - 1},
    ]
    found = []
    for values in (1, 1_000):
        monkeypatch.setattr(frames, "_GROUP_VALUES", values)
        file = BytesIO()
        frames.write_parquet(rows, None, file)
        found.append(parquet.read_table(file))
        assert parquet.ParquetFile(file).num_row_groups == (4 if values == 1 else 1)
    assert found[0].equals(found[1])
    assert list(map(str, found[0].schema.types)) == [
        *("double", "uint64", "string", "string", "bool", "null", "string", "string"),
    ]
    assert [row["d"] for row in found[0].to_pylist()] == ["1", "late", "false", None]
