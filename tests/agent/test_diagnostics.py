"""Small parts of the daemon: what is said, whom it refuses, whether a process lives."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from logferry.identity import boot_id, process_start_ticks
from logferry_agent.budget import Budget
from logferry_agent.diagnostics import RepeatFilter
from logferry_agent.processes import is_running
from logferry_agent.quarantine import Quarantine
from support.fakefs import FakeFileSystem


def test_repeats_are_filtered_by_time_and_their_number_is_said() -> None:
    now = [0.0]
    repeats = RepeatFilter(lambda: now[0])
    records = [logging.LogRecord("x", 30, "", 1, "no %s", ("way",), None) for _ in range(20)]
    assert sum(map(repeats.filter, records)) == 5
    now[0] = 11
    last = logging.LogRecord("x", 30, "", 1, "no %s", ("way",), None)
    assert repeats.filter(last)
    assert last.getMessage() == "no way (and 15 more like it)"


def test_over_budget_only_runs_with_a_held_output_are_refused() -> None:
    budget = Budget()
    budget.refresh(10, 5, lambda: {("exp", "held")})
    assert budget.full(("exp", "held"))
    assert not budget.full(("exp", "fine"))


def test_over_budget_without_a_held_output_everybody_waits() -> None:
    budget = Budget()
    budget.refresh(10, 5, set)
    assert budget.full(("exp", "fine"))
    budget.refresh(4, 5, lambda: {("exp", "fine")})
    assert not budget.full(("exp", "fine"))


def test_a_process_is_known_by_pid_start_and_boot() -> None:
    me = {"pid": os.getpid(), "pid_start": process_start_ticks(os.getpid()), "boot_id": boot_id()}
    assert is_running(me)
    assert not is_running(me | {"pid_start": 1})
    assert not is_running(me | {"boot_id": "another"})
    assert not is_running(me | {"pid": 1 << 30})


def test_bad_bytes_are_kept_once_under_a_safe_name_and_a_full_disk_is_no_error(root: Path) -> None:
    fs = FakeFileSystem()
    quarantine = Quarantine(fs, root / "bad")
    quarantine.keep("../x", b"bytes")
    quarantine.keep("../x", b"bytes")
    assert [path.name for path in (root / "bad").iterdir()] == [".._x"]
    fs.fail("pwritev", 28)
    quarantine.keep("y", b"bytes")
    assert quarantine.kept == 3
