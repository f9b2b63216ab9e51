"""A short soak with every run of the tests, and what its oracle sees; `make soak` is the long one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soak.oracle import WORDS_PER_JOB, Job, judge
from soak.schedule import schedule

# With its start, until all is settled and judged, that makes half a minute.
SECONDS = 25


@pytest.mark.timeout(300)
def test_nothing_is_lost_twice_or_out_of_order_whatever_is_killed_stopped_full_or_late() -> None:
    script = Path(__file__).with_name("soak.py")
    command = [sys.executable, str(script), "--seconds", str(SECONDS), "--burst", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=os.environ, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_fixes_what_is_done_and_another_one_changes_it() -> None:
    assert schedule(7, 100) == schedule(7, 100)
    assert schedule(7, 100) != schedule(8, 100)
    assert {action.verb for action in schedule(7, 600)} >= {"kill", "fill", "empty", "shift", "stop", "resume", "level"}


Lines = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lambda lines: lines, []),
        (lambda lines: lines[:2] + lines[3:], ["lost: 1 in r0, numbers of p", "lost: 1 in r0, calls"]),
        (lambda lines: [*lines, lines[-1]], ["twice: 1 in r0, numbers of p", "twice: 1 in r0, calls of 1"]),
        (lambda lines: lines[::-1], ["out_of_order: 4 in r0, numbers of p", "out_of_order: 4 in r0, calls of 1"]),
        (
            lambda lines: [*lines, {**lines[0], "seq": "p-6", "number": 7, "ballast": "x" * 7}],
            ["invented: 1 in r0, calls of 1"],
        ),
        (
            lambda lines: [*lines, {**lines[0], "seq": "p-6", "number": 6, "ballast": "x" * 6}],
            [],
        ),  # the call that was under way
        (lambda lines: [{**lines[0], "ballast": ""}, *lines[1:]], ["invented: 1 in r0, a ballast"]),
    ],
)
def test_the_oracle_sees_what_is_missing_repeated_swapped_or_made_up(
    root: Path, spoil: Callable[[Lines], Lines], seen: list[str]
) -> None:
    common = {"event": "Tick", "slot": 1}
    lines = [{**common, "number": n, "ballast": "x" * n, "seq": f"p-{n}"} for n in range(1, 6)]
    _leave(root, spoil(lines), {"run_id": "r0", "status": "KILLED"})
    notes = array("Q", [0, 5] + [0] * (WORDS_PER_JOB - 2))
    assert judge(root, [Job("r0", 0, {"KILLED"})], memoryview(notes)).says == seen


def test_the_oracle_sees_a_wrong_end_and_a_row_that_is_not_the_file(root: Path) -> None:
    _leave(root, [], {"run_id": "r0", "status": "KILLED"})
    (root / "results" / "soak" / "r0.json").write_text('{"run_id": "r0", "status": "FAILED"}')
    verdict = judge(root, [Job("r0", 0, {"KILLED"})], memoryview(array("Q", [0] * WORDS_PER_JOB)))
    assert (verdict.wrong_ends, verdict.wrong_rows) == (1, 1)


def _leave(root: Path, lines: Lines, document: dict[str, Any]) -> None:
    """Make the files of one run."""
    for path in ("logs/soak/r0", "results/soak", "store"):
        (root / path).mkdir(parents=True)
    (root / "logs" / "soak" / "r0" / "host.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "results" / "soak" / "r0.json").write_text(json.dumps(document))
    with sqlite3.connect(root / "store" / "results.db") as store:
        store.execute("CREATE TABLE result (run_id, candidate)")
        store.execute("CREATE TABLE candidate (id, document)")
        store.execute("INSERT INTO result VALUES ('r0', 1)")
        store.execute("INSERT INTO candidate VALUES (1, ?)", [json.dumps(document)])
    store.close()
