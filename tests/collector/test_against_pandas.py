"""Groups, order and files of generated results, as pandas has them; on both stores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from logferry.cli import main
from logferry_collector import export
from logferry_collector.columns import columns_of
from logferry_collector.store import open_url
from support import postgres
from support.collecting import Place
from support.depth import depth

METRICS = st.one_of(
    st.none(),
    st.integers(-1000, 1000),
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6),
    st.sampled_from(["NaN", "Infinity"]),
)
SLOW = settings(depth(8), phases=[Phase.generate])


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    config = st.fixed_dictionaries(
        {"lr": st.sampled_from([0.1, 1, 1.0, "warm", None]), "deep": st.sampled_from([True, 1, [1, "a"], None])},
        optional={"seed": st.sampled_from([0, 1, 2, None])},
    )
    metrics = st.fixed_dictionaries({}, optional={"acc": METRICS, "loss": METRICS})
    return st.lists(st.fixed_dictionaries({"config": config, "metrics": metrics}), max_size=14)


class Experiments:
    """One place; what each example has generated is an experiment of its own."""

    def __init__(self, place: Place) -> None:
        self.place, self._made = place, 0

    def new(self, documents: list[dict[str, Any]]) -> str:
        """Take in some results; return the WHERE that means them."""
        self._made += 1
        name = f"e{self._made}"
        records = [{"run_id": f"{number:03}", **one} for number, one in enumerate(documents)]
        self.place.append(f"{name}/r.jsonl", *records)
        self.place.collect()
        return f"experiment_id = {name}"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def experiments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiments]:
    store = open_url(postgres.shared().fresh_url()) if request.param == "postgres" else None
    place = Place(tmp_path_factory.mktemp("pandas"), store)
    yield Experiments(place)
    place.store.close()


def number(value: Any) -> float:
    return {"NaN": math.nan, "Infinity": math.inf}.get(value, value) if isinstance(value, str) else value


def frame_of(documents: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """Return runs with their group and repetition as text, so that pandas knows which are the same."""
    return pd.DataFrame(
        {
            "lr": [_same(one["config"]["lr"]) for one in documents],
            "deep": [_same(one["config"]["deep"]) for one in documents],
            "seed": [_same(one["config"].get("seed"), missing=f"run {place}") for place, one in enumerate(documents)],
            "value": pd.Series([one["metrics"].get(metric) for one in documents], dtype=object),
        }
    )


def _same(value: Any, missing: str = "null") -> str:
    return missing if value is None else json.dumps(float(value) if type(value) is int else value)


def expected(frame: pd.DataFrame, by: list[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the aggregates that pandas has of the groups, with NaN counted."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for group, runs in frame.groupby(by, dropna=False) if by else [((), frame)] if len(frame) else []:
        there = runs[[value is not None for value in runs["value"]]]
        means = pd.Series(
            [
                float(pd.Series(list(map(number, one["value"])), dtype=float).mean(skipna=False))
                for _, one in there.groupby("seed")
            ],
            dtype=float,
        )
        row: dict[str, Any] = {"n": runs["seed"].nunique()}
        if len(means):
            row |= {
                "value.n": len(means),
                "value.mean": means.mean(skipna=False),
                "value.min": means.min(skipna=False),
                "value.max": means.max(skipna=False),
                "value.std": means.std(skipna=False) if len(means) > 1 else None,
                "value.median": means.median(skipna=False),
            }
        found[group if isinstance(group, tuple) else (group,)] = row
    return found


# Of infinities pandas warns; they have no deviation.
@pytest.mark.filterwarnings("ignore:invalid value encountered")
@SLOW
@given(documents=rows(), by=st.sampled_from([[], ["lr"], ["lr", "deep"]]), over=st.booleans(), limited=st.booleans())
def test_groups_are_those_of_pandas(
    experiments: Experiments,
    documents: list[dict[str, Any]],
    by: list[str],
    over: bool,
    limited: bool,
) -> None:
    documents = [*documents, {"config": {"lr": 5, "deep": None, "seed": 0}, "metrics": {"acc": 1, "loss": 2}}]
    frame = frame_of(documents, "acc")
    if not over:
        frame["seed"] = [str(place) for place in range(len(frame))]
    results = experiments.place.reader.results(experiments.new(documents), limit=1_000 if limited else None)
    agg = ("n", "mean", "min", "max", "std", "median")
    groups = results.group(by, over="seed" if over else None, metrics=["metrics.acc"], agg=agg)
    found = {
        tuple(_same(row[name]) for name in by): {
            name.replace("acc.", "value."): value for name, value in row.items() if name not in by
        }
        for row in groups
    }
    wanted = expected(frame, by)
    assert set(found) == set(wanted)
    for group, row in wanted.items():
        assert set(found[group]) == set(row)
        for name, value in row.items():
            got = found[group][name]
            if value is None or got is None or math.isnan(value):
                assert (name, got is None or math.isnan(got)) == (name, True)
            elif math.isinf(value):
                assert got == value
            else:
                assert got == pytest.approx(value, rel=1e-9, abs=1e-9)


@SLOW
@given(documents=rows(), desc=st.booleans())
def test_order_is_that_of_pandas(experiments: Experiments, documents: list[dict[str, Any]], desc: bool) -> None:
    documents = [*documents, {"config": {}, "metrics": {"acc": 1}}]
    found = experiments.place.ids(experiments.new(documents), sort="metrics.acc", desc=desc)
    values = [number(one["metrics"].get("acc")) for one in documents]
    column = pd.Series(values, dtype=float, index=[f"{place:03}" for place in range(len(documents))])
    assert found == list(column.sort_values(ascending=not desc, na_position="last", kind="stable").index)


@SLOW
@given(documents=rows())
def test_frames_and_files_read_back_equal(
    experiments: Experiments, tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, Any]]
) -> None:
    root = tmp_path_factory.mktemp("files")
    documents = [*documents, {"config": {}, "metrics": {"acc": 1}}]
    results = experiments.place.reader.results(experiments.new(documents))
    table = results.rows()
    frame = results.to_pandas()
    results.to_csv(root / "out.csv")
    results.to_parquet(root / "out.parquet")
    polars = results.to_polars()
    columns = columns_of(table)
    assert list(frame.columns) == columns
    assert [_plain(row) for row in frame.to_dict("records")] == [
        _plain(row | dict.fromkeys(set(columns) - set(row))) for row in table
    ]
    parquet = pd.read_parquet(root / "out.parquet")
    assert [_plain(row) for row in parquet.to_dict("records")] == [_plain(row) for row in pl_rows(polars)]
    lines = StringIO()
    export.write_jsonl(table, lines)
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == json.loads(_json(table))
    if table:
        texts = pd.read_csv(root / "out.csv", dtype=str, keep_default_na=False).to_dict("records")
        wanted = [{name: _text(row.get(name)) for name in columns} for row in table]
        assert texts == wanted


def pl_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dicts()


def _json(table: list[dict[str, Any]]) -> str:
    out = StringIO()
    export.write_json(table, out)
    return out.getvalue()


def _text(value: Any) -> str:
    return "" if value is None else str(export.plain(value))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row in which missing and NaN are the same, as they are to pandas."""
    return {name: None if value is None or value != value else value for name, value in row.items()}


def test_markdown_and_latex_have_the_cells_of_the_table(
    home: Path, node_dir: Path, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a|b", "50 %", "x_1 & $y^2$", "back\\slash", "{~}"]
    for number_, name in enumerate(names):
        place.append("e/r.jsonl", {"run_id": str(number_), "config": {"name": name}, "metrics": {"acc": number_ / 3}})
    chosen = ["results", "--columns", "run_id,name,acc", "--format"]
    assert main([*chosen, "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.replace("\\|", "\0").split("|")[1:-1]] for line in lines]
    assert [row[1].replace("\0", "|") for row in cells[2:]] == names
    assert [row[2] for row in cells[2:]] == [f"{number_ / 3:.6g}" for number_ in range(5)]
    assert main([*chosen, "latex"]) == 0
    tex = capsys.readouterr().out
    assert tex.startswith("\\begin{tabular}{llr}\n\\toprule\nrun\\_id & name & acc \\\\\n\\midrule\n")
    assert "2 & x\\_1 \\& \\$y\\textasciicircum{}2\\$ & 0.666667 \\\\" in tex
    assert "\\textbackslash{}slash" in tex
