"""Wide guards on what a large store costs; bench/store.py has the figures."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import store as bench

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.store import open_url
from logferry_collector.where import Query
from support import postgres
from support.collecting import Place


@pytest.mark.guard
def test_loading_is_no_slower_than_three_bare_loops(root: Path) -> None:
    home = Home(root / "home")
    bench.write(home, 5_000)
    store = open_url(str(root / "results.db"))
    by_hand = bench.cpu(lambda: bench.load_by_hand(root / "hand.db", home))
    assert bench.cpu(lambda: bench.load(store, home)) < 3 * by_hand
    store.close()


def test_what_a_server_has_without_statistics_is_not_read_again_for_each_list_that_is_looked_up_in_it(
    root: Path,
) -> None:
    url = postgres.shared().fresh_url()
    place = Place(root, open_url(url))
    place.restart(CollectorConfig(batch_files=1))
    for file in range(4):
        place.append(f"e/{file}.jsonl", *({"run_id": f"{file}-{line:05d}"} for line in range(8_000)))
    place.settle()
    place.store.close()
    schema = url.rpartition("%3D")[2]
    read = f"SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND n_live_tup = 32000"
    deadline = time.monotonic() + 30
    while len(found := postgres.shared().ask(read)) < 2:  # `candidate` and `result`, once their figures have arrived
        assert time.monotonic() < deadline
    assert found == [(0,), (0,)]


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_best_fifty_are_found_by_an_index_whatever_they_are_filtered_by(root: Path, backend: str) -> None:
    home = Home(root / "home")
    bench.write(home, 2_500)
    store = open_url(postgres.shared().fresh_url() if backend == "postgres" else str(root / "results.db"))
    bench.load(store, home)
    names = Names(store.keys())
    where = parse("config.learning_rate = 0.01 and status = COMPLETED", names)
    top = Query(where, names.resolve("metrics.test_accuracy"), desc=True, limit=50)
    found = [document["metrics"]["test_accuracy"] for document in store.documents(top)]
    assert (len(found), found) == (50, sorted(found, reverse=True))
    steps = 0
    if backend == "sqlite":

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        store.database.connection.set_progress_handler(step, 100)  # type: ignore[attr-defined]
        assert len(list(store.documents(top))) == 50
        assert steps < 200  # a scan takes thousands
    store.close()
