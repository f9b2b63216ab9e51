"""Results of ten thousand keys each, and ten thousand different keys over all, break no question; on both stores."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from logferry_collector.export import differences
from support.collecting import Place

KEYS = 10_000


@pytest.fixture
def wide(each_place: Place) -> Place:
    """Three results of all keys, and a thousand of ten own ones each."""
    for run in range(3):
        config = {f"key{number}": number % 7 + run for number in range(KEYS)} | {"seed": run % 2}
        metrics = {f"m{number}": number / 8 + run for number in range(KEYS)}
        each_place.write(f"wide/w{run}.json", {"config": config, "metrics": metrics})
    own = ({f"own{10 * run + at}": run for at in range(10)} for run in range(KEYS // 10))
    each_place.append("own/r.jsonl", *({"run_id": f"o{run:03}", "config": one} for run, one in enumerate(own)))
    each_place.collect()
    assert each_place.faults() == []
    return each_place


def test_results_of_ten_thousand_keys_are_found_sorted_grouped_compared_and_written(wide: Place, root: Path) -> None:
    assert len(wide.store.keys()) > 3 * KEYS
    assert wide.ids("key9999 = 4", sort="m9999", desc=True, limit=50) == ["w1"]
    assert wide.ids("m5000 >= 626", sort="m9999", desc=True, limit=50) == ["w2", "w1"]
    assert wide.ids("own7777 = 777") == ["o777"]
    whole = wide.reader.results("experiment_id = wide")
    (group,) = whole.group("experiment_id")
    assert (group["n"], group["m9999.n"], group["m9999.mean"]) == (2, 2, 9_999 / 8 + 1)
    groups = whole.group("key9998", over=None, metrics=["m1", "m9999"])
    assert [(row["key9998"], row["m1.mean"]) for row in groups] == [(2, 1 / 8), (3, 9 / 8), (4, 17 / 8)]
    assert len(differences({one["run_id"]: one for one in whole})) >= 2 * KEYS
    assert len(whole.to_pandas().columns) > 2 * KEYS
    assert wide.reader.run("w2")["metrics"]["m9999"] == 9_999 / 8 + 2
    wide.reader.results("experiment_id = wide or run_id = o777").to_csv(root / "out.csv")
    with (root / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["config.own7777"] for row in rows] == ["777", "", "", ""]
    assert rows[3]["metrics.m9999"] == str(9_999 / 8 + 2)
    assert len(rows[3]) > 2 * KEYS
