"""The read side: order, groups, differences, exports, LOST, and what is taken in first."""

from __future__ import annotations

import csv
import json
import math
import os
import statistics
from pathlib import Path

import pandas as pd
import pytest

import logferry_collector.frames
from logferry_collector.frames import MissingPackageError
from logferry_collector.query import Reader, open_store
from logferry_collector.results import UnknownRunError
from logferry_collector.running import sole_collector
from logferry_collector.where import WhereError
from support.collecting import SAMPLE, Place


def sweep(place: Place) -> None:
    for lr in (0.1, 0.2):
        for seed in range(4):
            place.append(
                "e/sweep.jsonl",
                {"run_id": f"{lr}-{seed}", "config": {"lr": lr, "seed": seed}, "metrics": {"acc": lr + seed**2 / 10}},
            )
    place.collect()


@pytest.mark.parametrize(("desc", "order"), [(False, "eabfcd"), (True, "bafecd")])
def test_sorting_puts_nan_and_missing_last_both_ways(place: Place, desc: bool, order: str) -> None:
    values = {"a": 1, "b": 2.5, "c": "NaN", "d": None, "e": "-Infinity", "f": 3}
    values |= {"f": 2.75} if not desc else {"f": 0.5}
    for name, value in values.items():
        place.append("e/rows.jsonl", {"run_id": name, "metrics": {} if value is None else {"m": value}})
    place.collect()
    assert "".join(place.ids(sort="m", desc=desc)) == order


def test_a_limit_takes_the_first_of_the_order(place: Place) -> None:
    sweep(place)
    assert place.ids("lr = 0.2", sort="acc", desc=True, limit=2) == ["0.2-3", "0.2-2"]


def test_groups_have_mean_and_sample_deviation_over_seeds(place: Place) -> None:
    sweep(place)
    first, second = place.reader.results().group("lr")
    values = [0.1 + seed**2 / 10 for seed in range(4)]
    assert (first["lr"], first["n"], second["lr"]) == (0.1, 4, 0.2)
    assert first["acc.mean"] == pytest.approx(statistics.mean(values))
    assert first["acc.std"] == pytest.approx(statistics.stdev(values))


def test_missing_values_are_no_zeros_and_a_single_value_has_no_deviation(place: Place) -> None:
    place.append("e/r.jsonl", {"config": {"seed": 1}, "metrics": {"acc": 4}}, {"config": {"seed": 2}, "metrics": {}})
    place.collect()
    (row,) = place.reader.results().group([])
    assert (row["n"], row["acc.n"], row["acc.mean"], row["acc.std"]) == (2, 1, 4.0, None)


def test_a_diverged_run_is_not_left_out_of_the_mean(place: Place) -> None:
    place.append("e/r.jsonl", {"metrics": {"loss": 1}}, {"metrics": {"loss": "NaN"}})
    place.collect()
    (row,) = place.reader.results().group("experiment_id")
    assert (row["loss.n"], math.isnan(row["loss.mean"])) == (2, True)


def test_a_seed_that_ran_twice_counts_once(place: Place) -> None:
    rows = [{"config": {"seed": seed}, "metrics": {"acc": acc}} for seed, acc in ((1, 1), (1, 3), (2, 5))]
    place.append("e/r.jsonl", *rows)
    place.collect()
    (row,) = place.reader.results().group("experiment_id")
    assert (row["n"], row["acc.mean"]) == (2, 3.5)
    assert next(iter(place.reader.results().group("experiment_id", over=None)))["n"] == 3


def test_groups_sorted_either_way_have_numbers_before_text_and_what_lacks_the_key_last(place: Place) -> None:
    for number, width in enumerate([2, "wide", 10, None, "deep"]):
        place.write(f"e/r{number}.json", {"config": {"width": width}, "metrics": {"acc": 0.5}})
    place.collect()
    groups = place.reader.results().group("width")
    orders = []
    for desc in (False, True):
        groups.sort("width", desc=desc)
        orders.append([row["width"] for row in groups])
    assert orders == [[2, 10, "deep", "wide", None], [10, 2, "wide", "deep", None]]


def test_groups_tell_true_from_one_and_know_lists_and_long_integers(place: Place) -> None:
    for value in (True, 1, 1.0, [1, 2], [1, 2], {"a": 1}, 2**64 - 1, None):
        place.append("e/r.jsonl", {"config": {"x": value}, "metrics": {"m": 1}})
    place.collect()
    found = [(row["x"], row["n"]) for row in place.reader.results().group("config.x")]
    assert ([1, 2], 2) in found
    assert (1, 2) in found
    assert [n for value, n in found if value is True] == [1]
    assert ({"a": 1}, 1) in found
    assert (2**64 - 1, 1) in found


def test_least_and_most_of_diverged_runs_are_not_infinite(place: Place) -> None:
    place.append("e/r.jsonl", {"metrics": {"loss": "NaN"}}, {"metrics": {"loss": 10**400}}, {"metrics": {"acc": "NaN"}})
    place.collect()
    (row,) = place.reader.results().group("experiment_id", agg=("min", "max"))
    assert [math.isnan(row[key]) for key in ("loss.min", "acc.min", "acc.max")] == [True] * 3


def test_differences_without_ids_are_those_of_the_results(place: Place) -> None:
    for experiment in ("e", "f"):
        place.write(f"{experiment}/r.json", {"environment": {"git": {"commit": experiment}, "same": 1}})
    place.collect()
    assert place.reader.results().diff()["environment.git.commit"] == {"e/r": "e", "f/r": "f"}


def test_an_unknown_key_or_aggregate_is_an_error(place: Place) -> None:
    sweep(place)
    with pytest.raises(WhereError, match="did you mean"):
        place.reader.results().group("lrr")
    with pytest.raises(WhereError, match="unknown aggregate 'sum'"):
        place.reader.results().group("lr", agg=("sum",))


def test_one_aggregate_may_be_a_bare_name(place: Place) -> None:
    sweep(place)
    groups = place.reader.results().group("lr", metrics=["acc"], agg="max")
    assert [set(row) for row in groups] == [{"lr", "n", "acc.max"}] * len(groups)


def test_differences_name_only_what_differs(place: Place) -> None:
    sweep(place)
    found = place.reader.results().diff("0.1-1", "0.1-2")
    assert found["config.seed"] == {"0.1-1": 1, "0.1-2": 2}
    assert set(found) == {"run_id", "config.seed", "metrics.acc"}


def test_a_run_is_found_by_a_part_of_its_id_that_only_it_has(place: Place) -> None:
    place.append("e/r.jsonl", {"run_id": "20250730-abc"}, {"run_id": "20250730-abd"}, {"run_id": "x"})
    place.append("f/r.jsonl", {"run_id": "x"})
    place.collect()
    assert [place.reader.run(text)["run_id"] for text in ("abd", "20250730-abc", "f/x")] == [
        *("20250730-abd", "20250730-abc", "x")
    ]
    for text, message in (("2025", "any of 2"), ("x", "e/x, f/x"), ("nope", "no run 'nope'")):
        with pytest.raises(UnknownRunError, match=message):
            place.reader.run(text)


def test_frames_and_files_have_a_column_per_key(place: Place, root: Path) -> None:
    place.write("e/r.json", SAMPLE | {"tags": ["x"], "metrics": {"a": "NaN", "b": 2}})
    place.write("e/s.json", SAMPLE | {"config": {"seed": "none"}})
    place.collect()
    results = place.reader.results()
    frame = results.to_pandas()
    results.to_csv(root / "out.csv")
    results.to_parquet(root / "out.parquet")
    rows = list(csv.DictReader((root / "out.csv").read_text().splitlines()))
    parquet = pd.read_parquet(root / "out.parquet")
    assert list(frame.columns) == list(rows[0]) == list(parquet.columns)
    assert math.isnan(frame["metrics.a"][0])
    assert (rows[0]["tags"], rows[0]["config.seed"], rows[1]["metrics.b"]) == ('["x"]', "12345", "")
    assert list(parquet["config.seed"]) == ["12345", "none"]


def test_a_missing_package_is_named_with_the_way_to_get_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(logferry_collector.frames, "import_module", absent)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        place.reader.results().to_pandas()


def test_a_running_run_of_a_silent_host_is_lost_until_the_host_is_back(place: Place) -> None:
    for host in ("h1", "h2", "../x"):
        place.append("e/r.jsonl", {"run_id": host.strip("./"), "status": "RUNNING", "host": host})
    place.append("e/r.jsonl", {"run_id": "done", "status": "COMPLETED", "host": "h1"})
    place.collect()
    beat = place.home.agents / "h2"
    beat.parent.mkdir(parents=True, exist_ok=True)
    beat.touch()
    assert place.ids("status = LOST") == []
    place.ahead_s += 301
    os.utime(beat, ns=(place.clock_ns(),) * 2)
    assert place.ids("status = LOST") == ["h1", "x"]
    assert (place.ids("status = RUNNING"), place.reader.run("h1")["status"]) == (["h2"], "LOST")
    (place.home.agents / "h1").touch()
    os.utime(place.home.agents / "h1", ns=(place.clock_ns(),) * 2)
    assert place.ids("status = RUNNING") == ["h1", "h2"]


def test_who_asks_while_no_collector_runs_takes_in_what_is_new(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGFERRY_HOME", str(place.home.path))
    with open_store() as store:
        assert len(store.results()) == 0
        place.write("e/r.json", SAMPLE)
        assert [document["run_id"] for document in store.results()] == ["r"]


def test_who_asks_while_a_collector_runs_only_reads(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGFERRY_HOME", str(place.home.path))
    place.write("e/r.json", SAMPLE)
    with sole_collector(place.home, str(place.home.store)), open_store() as store:
        assert len(store.results()) == 0


def test_another_store_is_never_filled_by_looking_at_it(place: Place, root: Path, node_dir: Path, home: Path) -> None:
    place.write("e/r.json", SAMPLE)
    with open_store(str(root / "other.db")) as store:
        assert json.dumps(list(store.results())) == "[]"


def test_asked_for_keys_get_an_index_once_the_store_is_large(place: Place) -> None:
    place.append("e/r.jsonl", *({"config": {"lr": number % 7}} for number in range(2_100)))
    place.collect()
    assert len(place.ids("lr = 3")) == 300
    plan = place.store.database.connection.execute(
        "EXPLAIN QUERY PLAN SELECT 1 FROM result r WHERE json_extract(r.config, '$.\"lr\"') IN (3)"
    ).fetchall()
    assert "asked_" in str(plan)


def test_the_best_of_each_group_is_its_run_whole(place: Place) -> None:
    sweep(place)
    place.append("e/sweep.jsonl", {"run_id": "diverged", "config": {"lr": 0.1}, "metrics": {"acc": "NaN"}})
    place.collect()
    results = place.reader.results()
    assert [run["run_id"] for run in results.best("acc", "lr")] == ["0.2-3", "0.1-3"]
    assert [run["run_id"] for run in results.best("acc", lowest=True)] == ["0.1-0"]
    few = place.reader.results("seed < 2", limit=1).best("acc", ["lr", "experiment_id"], lowest=True)
    assert [run["run_id"] for run in few] == ["0.1-0"]


def test_true_and_one_and_lists_and_what_is_missing_are_groups_of_their_own(each_place: Place) -> None:
    values: list[object] = [True, 1, 1.0, "1", [1], "[1]", None, False, 0]
    each_place.append("e/r.jsonl", *({"config": {"v": value}, "metrics": {"acc": 1}} for value in values))
    each_place.append("e/r.jsonl", {"metrics": {"acc": 1, "loss": "NaN"}}, {"metrics": {"acc": 1, "loss": 2}})
    each_place.collect()
    results = each_place.reader.results()
    found = [run["run_id"] for run in results.best("acc", "config.v")]
    assert found == [f"r-{number}" for number in (1, 10, 2, 4, 5, 6, 8, 9)]  # r-10 has no value, as r-7
    assert len(list(results.best("acc", "loss"))) == 3


def test_many_runs_are_one_question(place: Place) -> None:
    sweep(place)
    asked: list[int] = []
    reader = Reader(place.store, place.home, take_in=lambda: asked.append(1))
    assert [run["run_id"] for run in reader.runs(["0.1-0", "e/0.2-3"])] == ["0.1-0", "0.2-3"]
    assert len(asked) == 1


def test_what_is_sorted_last_is_counted(place: Place) -> None:
    place.append("e/r.jsonl", {"metrics": {"acc": 1}}, {"metrics": {"acc": "NaN"}}, {}, {"metrics": {"acc": None}})
    place.collect()
    assert place.reader.results(sort="acc").unsortable() == (2, 1)


def test_columns_of_a_pattern_are_all_keys_that_it_fits(place: Place) -> None:
    sweep(place)
    names = place.reader.results().names
    assert [key.full_name for key in names.matching("config.*")] == ["config.lr", "config.seed"]
    with pytest.raises(WhereError, match="no result has a key like"):
        names.matching("nothing.*")


@pytest.mark.parametrize("rows", [5, 2_100])
def test_text_among_numbers_is_behind_them_both_ways_and_never_the_best(each_place: Place, rows: int) -> None:
    values = {"a": 1, "b": "diverged", "c": 2.5, "d": None, "e": "NaN", **{f"z{n:04}": -n for n in range(5, rows)}}
    each_place.append("e/r.jsonl", *({"run_id": run, "metrics": {"acc": value}} for run, value in values.items()))
    each_place.collect()
    numbers = sorted((run for run in values if isinstance(values[run], int | float)), key=lambda run: values[run])
    assert each_place.ids(sort="acc") == [*numbers, "b", "d", "e"]
    assert each_place.ids(sort="acc", desc=True) == [*numbers[::-1], "b", "d", "e"]
    assert each_place.ids(sort="acc", desc=True, limit=2) == ["c", "a"]
    assert each_place.ids(sort="acc", limit=rows - 1) == [*numbers, "b", "d"]
    assert [one["run_id"] for one in each_place.reader.results().best("acc")] == ["c"]


def test_integers_of_any_length_equal_only_themselves(each_place: Place) -> None:
    values = [2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 1e30]
    for value in values:
        each_place.append("e/r.jsonl", {"run_id": f"r{values.index(value)}", "config": {"seed": value}})
    each_place.append("e/r.jsonl", {"run_id": "text", "config": {"seed": str(2**64)}}, {"run_id": "none"})
    each_place.collect()
    assert each_place.faults() == []
    for place, value in enumerate(values[:7]):
        same = [f"r{place}"] + ["text"] * (value == 2**64)
        assert each_place.ids(f"config.seed = {value}") == same
        others = sorted({*(f"r{place}" for place in range(8)), "text"} - set(same))
        assert each_place.ids(f"config.seed != {value}") == others
    assert each_place.ids(f"config.seed in ({2**64 - 1}, {2**63 - 1}, 5)") == ["r0", "r3"]
    seeds = each_place.reader.results("seed > 0").group("seed", over=None, metrics=[])
    assert {row["seed"] for row in seeds} >= set(values[:5])
    assert len(list(each_place.reader.results().best("seed", by="seed"))) == 9


def test_a_key_that_was_a_map_first_is_known_when_it_is_a_value(each_place: Place) -> None:
    each_place.append("e/r.jsonl", {"run_id": "map", "config": {"opt": {"name": "sgd"}}})
    each_place.append("e/r.jsonl", {"run_id": "value", "config": {"opt": "adam"}})
    each_place.collect()
    assert each_place.ids("config.opt = adam") == ["value"]
    assert each_place.ids("opt.name = sgd") == ["map"]
