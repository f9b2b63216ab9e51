"""Wide guards on what a large store costs; bench/store.py has the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import store as bench

from logferry.layout import Home
from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.store import open_url
from logferry_collector.where import Query
from support import postgres


@pytest.mark.guard
def test_loading_is_no_slower_than_three_bare_loops(root: Path) -> None:
    home = Home(root / "home")
    bench.write(home, 5_000)
    store = open_url(str(root / "results.db"))
    by_hand = bench.cpu(lambda: bench.load_by_hand(root / "hand.db", home))
    assert bench.cpu(lambda: bench.load(store, home)) < 3 * by_hand
    store.close()


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
