"""Thousands of small files: taken in quickly, and cheap to look at again."""

from __future__ import annotations

import time
from pathlib import Path

from support.collecting import Place
from support.depth import sized


def test_many_small_files_are_taken_in_and_not_read_twice(place: Place) -> None:
    document = b'{"metrics": {"loss": 1}, "config": {"seed": 1}}'
    directories = sized(2, 10)
    for number in range(directories):
        directory = place.home.results / f"e{number}"
        directory.mkdir(parents=True)
        for name in range(500):
            Path(f"{directory}/{name}.json").write_bytes(document)
    place.ahead_s = 1
    start = time.monotonic()
    assert place.collect() == 500 * directories
    # A second for 5,000 on a small machine; the guard is for a square of the number of files.
    assert time.monotonic() - start < 30
    place.ahead_s += 1
    start_cpu = time.process_time()
    assert (place.collect(), place.store.counts()) == (0, (500 * directories, 0))
    # A twentieth of a second; two seconds for 100,000 files is the promise, and this guards its order.
    assert time.process_time() - start_cpu < 2


def test_the_work_for_a_file_of_many_rows_grows_with_their_number_and_no_faster(place: Place) -> None:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    def work(name: str, rows: int) -> int:
        nonlocal steps
        steps = 0
        place.append(name, *({"metrics": {"x": number}} for number in range(rows)))
        place.collect()
        return steps

    place.store.database.connection.set_progress_handler(step, 100)  # type: ignore[attr-defined]
    few = work("e/few.jsonl", 250)
    assert work("e/many.jsonl", 2_000) < 12 * few
