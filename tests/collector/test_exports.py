"""Tables as W&B, MLflow and Hydra leave them: each column in its place, the user's word above all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from logferry_collector.config import CollectorConfig
from logferry_collector.formats import Content
from logferry_collector.formats.columns import Columns
from logferry_collector.formats.csv import CSV
from support.collecting import Place


def row(columns: dict[str, Any], own: dict[str, str] | None = None) -> dict[str, Any]:
    return Columns(own).plan(tuple(columns)).document(list(columns.values()))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("config.lr", "config lr"),
        ("config_lr", "config lr"),
        ("config/lr", "config lr"),
        ("params.model.depth", "config model depth"),
        ("hparams/lr", "config lr"),
        ("metrics.acc", "metrics acc"),
        ("metrics_acc", "metrics acc"),
        ("summary.loss", "metrics loss"),
        ("lr", "config lr"),
        ("optimizer.lr", "config optimizer.lr"),
        ("seed", "config seed"),
        ("acc", "metrics acc"),
        ("val_acc", "metrics val_acc"),
        ("test/f1", "metrics test/f1"),
        ("train_loss", "metrics train_loss"),
        ("environment.gpu", "environment gpu"),
        ("hydra.job.num", "environment job num"),
        ("gloss", "gloss"),
        ("size", "size"),
        ("user_acc", "user_acc"),
        ("config.", "config."),
        ("configuration", "configuration"),
    ],
)
def test_a_column_goes_where_its_name_says_and_else_stays(name: str, path: str) -> None:
    want: Any = 7
    for part in reversed(path.split()):
        want = {part: want}
    assert row({name: 7}) == want


def test_a_key_that_is_a_value_and_a_map_keeps_both() -> None:
    assert row({"config.a": 1, "config.a.b": 2, "config.c.d": 3}) == {"config": {"a": 1, "a.b": 2, "c": {"d": 3}}}


def test_what_the_user_says_stands_above_all() -> None:
    own = {"lr": "metrics.lr", "colour": "config.paint.colour", "eval_*": "metrics", "Kommentar": "notes"}
    columns = {"lr": 1, "colour": "red", "eval_x": 2, "Kommentar": "good", "config.lr": 3}
    assert row(columns, own) == {
        "metrics": {"lr": 1, "eval_x": 2},
        "config": {"paint": {"colour": "red"}, "lr": 3},
        "notes": "good",
    }


def test_the_configuration_names_columns(place: Place) -> None:
    place.restart(CollectorConfig(columns={"colour": "config.colour"}))
    place.write("e/a.csv", "run_id,colour\na,red\n")
    place.write("e/b.json", {"run_id": "b", "colour": "blue"})
    place.collect()
    assert [d["config"]["colour"] for d in place.documents()] == ["red", "blue"]


WANDB = (
    '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","ID","lr","dropout","val_acc","_step"\n'
    '"fine-sun-1","finished","-","me","a, b","2024-03-01T10:00:00.000Z","3661","","1e5abc","0.001","0.1","0.93","100"\n'
    '"old-moon-2","crashed","","me","","2024-03-01T10:00:00.000Z","2.5","s1","x2","0.01","","","7"\n'
)


def test_an_export_of_wandb_is_results() -> None:
    first, second = (document for _, document in CSV().parse(Content(WANDB.encode())).documents)
    assert first == {
        "name": "fine-sun-1",
        "status": "COMPLETED",
        "notes": "-",
        "environment": {"user": "me", "_step": 100},
        "tags": ["a", "b"],
        "started": "2024-03-01T10:00:00Z",
        "duration_s": 3661,
        "run_id": "1e5abc",
        "config": {"lr": 0.001, "dropout": 0.1},
        "metrics": {"val_acc": 0.93},
    }
    assert (second["status"], second["environment"]["sweep"], second.get("metrics")) == ("KILLED", "s1", None)


def test_an_export_of_mlflow_is_results() -> None:
    assert row(
        {
            "run_id": "0f3",
            "experiment_id": 3,
            "status": "FINISHED",
            "artifact_uri": "file:///x",
            "start_time": "2024-03-01 10:00:00+00:00",
            "end_time": 1709287230000,
            "metrics.acc": 0.5,
            "params.lr": 0.1,
            "tags.mlflow.runName": "sun",
            "tags.mlflow.source.git.commit": "abc",
            "tags.team": "a",
        }
    ) == {
        "run_id": "0f3",
        "experiment_id": "3",
        "status": "COMPLETED",
        "environment": {"artifact_uri": "file:///x", "git_commit": "abc"},
        "started": "2024-03-01T10:00:00Z",
        "timestamp": "2024-03-01T10:00:30Z",
        "metrics": {"acc": 0.5},
        "config": {"lr": 0.1},
        "name": "sun",
        "tags": ["team=a"],
        "duration_s": 30.0,
    }


@pytest.mark.parametrize(("text", "seconds"), [("1:01:05", 3665), ("2 days 0:00:01.5", 172801.5), ("1h 2m 3s", 3723)])
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert row({"duration_s": text}) == {"duration_s": seconds}


def test_overrides_of_hydra_are_settings() -> None:
    want = {"lr": 0.1, "db.name": "x", "n": [1, 2]}
    assert row({"overrides": "lr=0.1,+db.name=x,n=[1,2]"})["config"] == want
    assert row({"overrides": ["lr=0.1", "db.name=x", "n=[1,2]", "~gone", "hydra.x=1"]})["config"] == want


APP = """
import csv, hydra, json, os
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    out = HydraConfig.get().runtime.output_dir
    with open(out + "/result.json", "w") as file:
        json.dump({"config": OmegaConf.to_container(cfg), "metrics": {"acc": cfg.lr * 2}}, file)
    OmegaConf.save({"overrides": list(HydraConfig.get().overrides.task), "acc": 0.5}, out + "/short.yaml")

main()
"""


def test_a_multirun_of_hydra_is_a_run_per_job(place: Place, root: Path) -> None:
    (root / "app.py").write_text(APP)
    target = place.home.results / "sweep"
    command = [sys.executable, "app.py", "-m", "+lr=0.1,0.25", f"hydra.sweep.dir={target}", "hydra.job.chdir=false"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    place.settle()
    found = {document["run_id"]: document for document in place.documents()}
    assert {"0-result", "1-result", "0-short", "1-short"} <= set(found)
    assert found["1-result"]["metrics"] == {"acc": 0.5}
    assert found["0-result"]["config"]["lr"] == 0.1  # of .hydra/config.yaml
    assert (found["1-short"]["config"], found["1-short"]["metrics"]) == ({"lr": 0.25}, {"acc": 0.5})
    assert yaml.safe_load((target / "1" / ".hydra" / "overrides.yaml").read_text()) == ["+lr=0.25"]


def test_settings_that_lie_beside_an_outcome_are_its_own_unless_it_says_otherwise(place: Place) -> None:
    place.write("e/a/.hydra/config.yaml", "lr: 0.1\nmodel: {name: vit, depth: 12}\nseed: 3\n")
    place.write("e/a/metrics.json", {"acc": 0.5, "lr": 0.2})
    place.write("e/a/run.json", {"metrics": {"acc": 0.6}, "owner": "p1"})
    place.write("e/a/rows.csv", "epoch,val_acc\n1,0.5\n")
    place.write("e/b/hparams.yaml", "lr: 0.3\n")
    place.write("e/b/metrics.json", {"acc": 0.5})
    place.write("e/c/hparams.yaml", "model: !!python/object:os.system {}\n")
    place.write("e/c/metrics.json", {"acc": 0.5})
    place.settle()
    found = {document["run_id"]: document.get("config") for document in place.documents()}
    assert found == {
        "a-metrics": {"lr": 0.2, "model": {"name": "vit", "depth": 12}, "seed": 3},
        "a-run": None,
        "a-rows-2": None,
        "b-metrics": {"lr": 0.3},
        "c-metrics": None,
    }


def test_a_path_too_long_for_an_id_makes_one_with_its_end(place: Place) -> None:
    long = "-".join(f"optimizer.parameter{number}=0.1" for number in range(8))
    for seed in (1, 2):
        place.write(f"e/{long}/seed={seed}/metrics.json", {"acc": seed})
    place.collect()
    assert not place.faults()
    first, second = place.ids()
    assert {len(first), len(second)} == {128}
    assert {first.rpartition("=")[2], second.rpartition("=")[2]} == {"1-metrics", "2-metrics"}
