"""Tables that other programs write, as they write them: whoever has one does not have to write it anew."""

from __future__ import annotations

import json
import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from logferry_collector.formats import Content, Reading, format_of
from support.collecting import Place

PICKLES = Reading(pickle=True)


def read(name: str, data: bytes | str) -> list[Any]:
    form = format_of(name)
    assert form is not None
    content = Content(data.encode() if isinstance(data, str) else data, reading=PICKLES)
    return [document for _, document in form.parse(content).documents]


def refusal(name: str, data: bytes) -> str:
    form = format_of(name)
    assert form is not None
    found = form.parse(Content(data, reading=PICKLES))
    assert not found.documents
    return found.unfinished or found.rejects[0].reason


# As optuna 4 writes `study.trials_dataframe().to_csv()`.
OPTUNA = """\
,number,value,datetime_start,datetime_complete,duration,params_lr,params_optimizer,user_attrs_val_acc,user_attrs_who,state
0,0,1.25,2026-11-26 11:05:02.500000,2026-11-26 11:05:04.000000,0 days 00:00:01.500000,0.02,sgd,0.75,me,COMPLETE
1,1,,2026-11-26 11:05:05.000000,,,0.01,adam,,,FAIL
"""


def test_the_trials_of_optuna_are_results() -> None:
    first, second = read("optuna.csv", OPTUNA)
    assert (first["config"], first["metrics"]) == ({"lr": 0.02, "optimizer": "sgd"}, {"value": 1.25, "val_acc": 0.75})
    assert (first["status"], first["duration_s"], first["started"]) == ("COMPLETED", 1.5, "2026-11-26T11:05:02.500000Z")
    assert (first["user_attrs_who"], second["status"], "metrics" in second) == ("me", "FAILED", False)
    several = read("pareto.csv", OPTUNA.replace("value,", "values_0,"))
    assert several[0]["metrics"] == {"0": 1.25, "val_acc": 0.75}


# As the documentation of W&B has it: a frame of `run.summary._json_dict`, `run.config` and `run.name`, to CSV.
WANDB = pd.DataFrame(
    {
        "summary": [{"acc": 0.9, "loss": float("nan"), "_step": 3}, {"acc": 0.8, "loss": float("-inf")}],
        "config": [{"lr": 0.1, "layers": [1, (2,)], "resume": None, "amp": True, "who": 'o"ne\\d'}, {"lr": -1e-5}],
        "name": ["a", "b"],
    }
)


def test_maps_that_python_printed_into_a_cell_are_maps() -> None:
    first, second = read("project.csv", WANDB.to_csv())
    assert first["metrics"] == {"acc": 0.9, "loss": "NaN", "_step": 3}
    assert first["config"] == {"lr": 0.1, "layers": [1, [2]], "resume": None, "amp": True, "who": 'o"ne\\d'}
    assert (second["config"], second["metrics"], second["name"]) == (
        {"lr": -1e-5},
        {"acc": 0.8, "loss": "-Infinity"},
        "b",
    )


@pytest.mark.parametrize(
    "cell",
    ["{'a': open}", "{'a': [1, f(2)]}", "[x for x in y]", "{1: 2", "{'a'}", "{**a}", "[1j]", "{'a': b'c'}",
     "{'a': 1}.b", "[" + "(" * 300 + ")" * 300 + "]", "[" + "-" * 50_000 + "1]", "['\\N{x}']", "[0777]"],
)  # fmt: skip
def test_what_is_no_data_when_python_reads_it_stays_text(cell: str) -> None:
    quoted = cell.replace('"', '""')
    assert read("t.csv", f'x,y\n"{quoted}",1\n') == [{"x": cell, "y": 1}]


def test_a_search_of_scikit_learn_is_a_row_for_each_candidate(root: Path) -> None:
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, None]}, cv=3)
    frame = pd.DataFrame(search.fit(*load_wine(return_X_y=True)).cv_results_)
    found = read("search.csv", frame.to_csv())
    assert [one["config"] for one in found] == [{"max_depth": 1}, {"max_depth": None}]
    assert found[0]["metrics"]["mean_test_score"] == frame["mean_test_score"][0]
    frame.to_pickle(root / "search.pkl")
    assert [one["config"] for one in read("search.pkl", (root / "search.pkl").read_bytes())] == [
        {"max_depth": 1},
        {"max_depth": None},
    ]


FRAME = pd.DataFrame({"lr": [0.1, 0.2], "test_acc": [0.5, None], "opt": ["sgd", "é"]})
ROWS = [
    {"config": {"lr": 0.1}, "metrics": {"test_acc": 0.5}, "opt": "sgd"},
    {"config": {"lr": 0.2}, "opt": "é"},
]


@pytest.mark.parametrize("orient", ["columns", "index", "split", "table", "records"])
def test_json_of_pandas_is_its_rows_however_it_is_turned(orient: Any) -> None:
    found = read("frame.json", FRAME.to_json(orient=orient))
    assert [{key: value for key, value in one.items() if key != "index"} for one in found] == ROWS


@pytest.mark.parametrize(
    "document",
    [
        {"precision": {"0": 0.5, "1": 0.6}, "recall": {"0": 0.5, "1": 0.6}},
        {"lr": {"0": 1}, "acc": {"0": 1, "1": 2}},
        {"columns": ["a"], "index": [0], "data": [[1, 2]]},
        {"schema": {}, "data": [1]},
        {},
    ],
)
def test_a_document_that_only_looks_like_a_table_is_one_result(document: dict[str, Any]) -> None:
    assert len(read("one.json", json.dumps(document))) == 1


KINDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"args": {"lr": 0.1}, "results": {"acc": 0.5}}, {"config": {"lr": 0.1}, "metrics": {"acc": 0.5}}),
    ({"hparams": {"lr": 1}, "lr": 2}, {"config": {"lr": 2}}),
    ({"test": {"loss": 1, "acc": 2}}, {"metrics": {"test": {"loss": 1, "acc": 2}}}),
    ({"test": {"loss": 1, "size": 2}}, {"test": {"loss": 1, "size": 2}}),
    ({"model": {"name": "vit"}, "lr": 1}, {"config": {"model": {"name": "vit"}, "lr": 1}}),
    ({"environment": "CartPole-v1", "reward": 3}, {"config": {"environment": "CartPole-v1"}, "metrics": {"reward": 3}}),
    ({"config": "a.yaml", "lr": 1}, {"config": {"config": "a.yaml", "lr": 1}}),
    ({"lr": 1, "config": "a.yaml"}, {"config": {"config": "a.yaml", "lr": 1}}),
    ({"environment.gpu": "A100", "environment": "Hopper"}, {"environment": {"gpu": "A100", "environment": "Hopper"}}),
    ({"environment": "Hopper", "environment.gpu": "A100"}, {"environment": {"gpu": "A100", "environment": "Hopper"}}),
    ({"revision": "1f3a2b", "attempt": 2}, {"config": {"revision": "1f3a2b"}, "attempt": 2}),
    ({"tags": {"team": "vision"}}, {"tags": ["team=vision"]}),
]


@pytest.mark.parametrize(("document", "result"), KINDS)
def test_what_is_of_another_kind_than_its_place_is_kept_in_a_place_that_fits(
    document: dict[str, Any], result: dict[str, Any]
) -> None:
    assert read("r.json", json.dumps(document)) == [result]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("m.pkl", zlib.compress(pickle.dumps(1)), "is packed by zlib, as joblib does: write it without compress"),
        ("r.json", b"\x1f\x8b\x08\0", "is packed, and its name does not say so: end it in .gz"),
        ("r.parquet", b"\x28\xb5\x2f\xfd", "is packed, and its name does not say so: end it in .zst"),
        ("r.json", "{}".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("r.yaml", b"\xff\xfea", "is UTF-16; save it as UTF-8"),
    ],
)  # fmt: skip
def test_what_is_written_otherwise_than_its_name_says_is_told_what_to_do(name: str, data: bytes, reason: str) -> None:
    assert refusal(name, data) == reason


def test_a_pickle_of_joblib_with_arrays_is_refused_by_the_name_of_what_wrote_it(root: Path) -> None:
    path = root / "m.pkl"
    joblib.dump({"acc": 0.5, "curve": np.arange(10.0)}, path)
    assert refusal("m.pkl", path.read_bytes()).startswith("has arrays as joblib writes them; write it with pickle.dump")
    joblib.dump({"acc": 0.5, "lr": 0.1}, path)
    assert read("m.pkl", path.read_bytes()) == [{"config": {"lr": 0.1}, "metrics": {"acc": 0.5}}]


def test_what_a_search_keeps_as_masked_arrays_is_told_to_be_written_as_a_frame() -> None:
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}, cv=2)
    results = search.fit(*load_wine(return_X_y=True)).cv_results_
    assert refusal("search.pkl", pickle.dumps(results)).endswith("write a frame of it, or lists")
    assert "GridSearchCV, which is not data" in refusal("search.pkl", pickle.dumps(search))


def test_maps_and_tags_that_a_table_with_types_says_as_text_are_maps_and_tags(root: Path) -> None:
    frame = pd.DataFrame({"environment": ['{"gpu": "A100"}', "Hopper"], "exit": ['{"code": 1}', None]})
    frame.assign(tags=['["a", "b,c"]', "d, e"]).to_parquet(root / "t.parquet")
    assert read("t.parquet", (root / "t.parquet").read_bytes()) == [
        {"environment": {"gpu": "A100"}, "exit": {"code": 1}, "tags": ["a", "b,c"]},
        {"config": {"environment": "Hopper"}, "tags": ["d", "e"]},
    ]


def test_the_state_of_a_trainer_has_the_last_values_of_its_history_for_metrics(place: Place) -> None:
    state = {
        "best_metric": 0.91,
        "best_model_checkpoint": "out/checkpoint-20",
        "epoch": 2.0,
        "global_step": 20,
        "log_history": [
            {"epoch": 1.0, "grad_norm": 2.5, "learning_rate": 5e-05, "loss": 0.7, "step": 10},
            {"epoch": 1.0, "eval_accuracy": 0.91, "eval_loss": 0.4, "step": 10},
            {"epoch": 2.0, "grad_norm": math.nan, "learning_rate": 0.0, "loss": 0.3, "step": 20},
            {"epoch": 2.0, "eval_accuracy": 0.9, "eval_loss": 0.5, "step": 20},
            {"epoch": 2.0, "step": 20, "total_flos": 1e15, "train_loss": 0.5, "train_runtime": 60.5},
        ],
        "max_steps": 20,
        "num_train_epochs": 2,
        "trial_params": {"learning_rate": 5e-05},
    }
    place.write("bert/checkpoint-20/trainer_state.json", json.dumps(state))
    place.write("bert/other.json", json.dumps({"global_step": 1, "log_history": "none", "loss": 1}))
    place.collect()
    document, other = place.documents()
    assert document["metrics"] == {
        "grad_norm": "NaN",
        "learning_rate": 0.0,
        "loss": 0.3,
        "eval_accuracy": 0.9,
        "eval_loss": 0.5,
        "total_flos": 1e15,
        "train_loss": 0.5,
        "train_runtime": 60.5,
        "best_metric": 0.91,
    }
    assert document["config"] == {"num_train_epochs": 2, "max_steps": 20, "learning_rate": 5e-05}
    assert (document["run_id"], document["global_step"], document["epoch"]) == ("checkpoint-20-trainer_state", 20, 2.0)
    assert "log_history" not in document
    assert other["log_history"] == "none"
