"""Frames from a program become results, by way of a file; `ingest` takes in what a past project left."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import logferry
from logferry.cli import main
from logferry_collector.add import AddError
from logferry_collector.store import StoreRefusedError

ROWS: list[dict[str, Any]] = [
    {"config.lr": 0.1, "seed": 1, "metrics.acc": 0.5, "note": "x"},
    {"config.lr": 0.2, "seed": 2, "metrics.acc": 0.6, "note": None},
]
WANT = [
    {"experiment_id": "e", "run_id": "t-1", "config": {"lr": 0.1, "seed": 1}, "metrics": {"acc": 0.5}, "note": "x"},
    {"experiment_id": "e", "run_id": "t-2", "config": {"lr": 0.2, "seed": 2}, "metrics": {"acc": 0.6}},
]


def without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.Table.from_pylist, list, iter])
def test_rows_of_every_kind_of_frame_are_results(home: Path, node_dir: Path, make: Any) -> None:
    with logferry.open_store() as store:
        assert store.add(make(ROWS), experiment="e", name="t") == 2
        assert [without_none(document) for document in store.results()] == WANT


def test_what_is_added_twice_is_there_once_and_survives_the_store(home: Path, node_dir: Path) -> None:
    for _ in range(2):
        with logferry.open_store() as store:
            store.add(ROWS, experiment="e")
            assert len(store.results()) == 2
    for path in (home / "store").iterdir():
        path.unlink()
    with logferry.open_store() as store:
        assert [document["metrics"]["acc"] for document in store.results(sort="acc")] == [0.5, 0.6]


def test_rows_name_their_own_experiment_and_run(home: Path, node_dir: Path) -> None:
    frame = pd.DataFrame({"experiment_id": ["e", "f"], "run_id": [1, 2], "acc": [float("nan"), 1]})
    with logferry.open_store() as store:
        store.add(frame)
        found = list(store.results())
    assert [(d["experiment_id"], d["run_id"], d.get("metrics")) for d in found] == [
        ("e", "1", None),
        ("f", "2", {"acc": 1}),
    ]


@pytest.mark.parametrize(
    ("frame", "more", "message"),
    [
        (ROWS, {}, "row 1: no experiment"),
        ([*ROWS, 7], {"experiment": "e"}, "a row is a int"),
        ([{"run_id": "a"}, {"run_id": "a"}], {"experiment": "e"}, "row 2: run e/a is in row 1 already"),
        ([{"duration_s": "long"}], {"experiment": "e"}, "row 1: duration_s is a str"),
        (ROWS, {"experiment": "../e"}, "row 1: experiment id '../e'"),
        (ROWS, {"experiment": "e", "name": "a/b"}, "row 1: name 'a/b'"),
        ("text", {"experiment": "e"}, "a str holds no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {"experiment": "e"}, "two columns are named 'a'"),
        (pl.LazyFrame({"a": [1]}), {"experiment": "e"}, "collect()"),
        ([{"x": 10**5000}], {"experiment": "e"}, "a number is too long"),
    ],
)
def test_what_is_no_result_is_refused_and_nothing_is_added(
    home: Path, node_dir: Path, frame: Any, more: dict[str, str], message: str
) -> None:
    with logferry.open_store() as store:
        with pytest.raises(AddError, match=message.replace("(", "\\(").replace(")", "\\)")):
            store.add(frame, **more)
        assert len(store.results()) == 0
    assert not list((home / "results").rglob("*.jsonl"))


def test_an_id_that_a_row_lacks_is_the_one_that_is_said(home: Path, node_dir: Path) -> None:
    with logferry.open_store() as store:
        store.add([{"experiment_id": None, "run_id": None, "metrics": {"acc": 1}}], experiment="e", name="t")
        assert [(one["experiment_id"], one["run_id"]) for one in store.results()] == [("e", "t-1")]


def test_a_store_of_another_home_is_only_read(home: Path, node_dir: Path, root: Path) -> None:
    with logferry.open_store(str(root / "other.db")) as store, pytest.raises(StoreRefusedError, match="only read"):
        store.add(ROWS, experiment="e")


@pytest.fixture
def past(root: Path) -> Path:
    """A project that knew nothing of logferry."""
    past = root / "past"
    for seed in (1, 2):
        directory = past / "outputs" / f"lr=0.1,seed={seed}"
        directory.mkdir(parents=True)
        (directory / "results.json").write_text(json.dumps({"metrics": {"acc": seed / 10}, "seed": seed}))
        (directory / "plot.png").write_bytes(b"\x89PNG")
    (past / "table.csv").write_text("model,acc\nA,0.5\nB\nC,0.7\n")
    (past / "broken.yaml").write_text("a: [1")
    (past / "old.pkl").write_bytes(b"x")
    return past


def test_a_past_project_is_taken_in_under_an_experiment_with_a_report(
    home: Path, node_dir: Path, past: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", str(past), "--experiment", "old", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["rows"], told["others"]) == (5, 4, {".png": 2})
    assert told["reasons"] == {"incomplete": 1, "invalid": 1, "unavailable": 1}
    with logferry.open_store() as store:
        assert [(d["experiment_id"], d["run_id"]) for d in store.results()] == [
            ("old", "outputs-lr=0.1,seed=1-results"),
            ("old", "outputs-lr=0.1,seed=2-results"),
            ("old", "table-2"),
            ("old", "table-4"),
        ]
    assert main(["ingest", str(past), "--experiment", "old"]) == 1
    out, err = capsys.readouterr()
    assert "5 files looked at" in out
    assert "3 refused (" in out
    assert "of no known format: 2 .png" in out
    assert "table.csv:3: invalid: 1 cells, and the header has 2" in err
    assert main(["ingest", str(past), "--experiment", "a/b"]) == 2


def test_a_reason_that_many_files_share_is_said_once(
    home: Path, node_dir: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "p").mkdir()
    for number in range(30):
        (root / "p" / f"{number}.yaml").write_text("lr: 0.1")
    assert main(["ingest", str(root / "p"), "--experiment", "old"]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert "invalid: no result: one in YAML has" in first
    assert first.endswith(" (and 29 more for the same reason)")
    assert last == "logferry: 'logferry rejects' lists all"


def test_rows_that_may_be_steps_of_a_run_and_experiments_of_their_own_are_told(
    home: Path, node_dir: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "metrics.csv").write_text("epoch,step,train_loss,val_acc\n0,49,0.69,\n0,99,,0.81\n")
    (root / "mlflow.csv").write_text("run_id,experiment_id,status,start_time,metrics.acc\na,7,FAILED,,\n")
    assert main(["ingest", str(root / "metrics.csv"), str(root / "mlflow.csv"), "--experiment", "old"]) == 0
    out = capsys.readouterr().out
    assert "\nrows by experiment: old (2), 7 (1)\n" in out
    assert f"\n2 rows of {root}/metrics.csv have a step or an epoch: " in out
    assert "have no metrics" not in out


def test_files_whose_rows_have_the_same_names_are_told(
    home: Path, node_dir: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "p").mkdir()
    (root / "p" / "all.csv").write_text("acc\n0.5\n0.6\n")
    (root / "p" / "all.json").write_text('[{"acc": 1}, {"acc": 2}]')
    (root / "p" / "other.csv").write_text("run_id,acc\na,0.5\n")
    assert main(["ingest", str(root / "p"), "--experiment", "old"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "have the names of rows of" in line]
    assert [line.split()[0] for line in lines] == ["1"]  # all-2
    assert f"{root}/p/all.csv" in lines[0]
    assert f"{root}/p/all.json" in lines[0]
    assert main(["ingest", str(root / "p"), "--experiment", "old"]) == 0
    assert "have the names" not in capsys.readouterr().out


def test_progress_is_shown_to_a_terminal_and_to_nobody_else(home: Path, node_dir: Path, past: Path) -> None:
    command = [sys.executable, "-m", "logferry", "ingest", str(past), "--experiment", "old"]
    quiet = subprocess.run(command, capture_output=True, check=False)
    ours, theirs = pty.openpty()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=False, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # a terminal that nobody holds any more
        pass
    os.close(ours)
    assert (b"/5" in shown, b"/5" in quiet.stderr + quiet.stdout) == (True, False)
