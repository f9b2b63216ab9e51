"""What happens to the buffer between two of its own steps, and at its limits."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from logferry import buffer, diagnostics
from logferry.buffer import Buffer, frame
from logferry.events import DEBUG, END, INFO, RESULT, SYSTEM, pack_event
from logferry.leftovers import Slice, read_dead
from logferry.spool import read_head
from support.mapped import Logged
from support.records import events_of

BALLAST = "x" * 1000


@pytest.fixture
def logged(root: Path) -> Logged:
    return Logged(root)


def _names(root: Path) -> list[str]:
    found = []
    for piece in read_dead(root, 0, 1 << 20):
        assert isinstance(piece, Slice), piece
        found += [event[2] for event in events_of(piece.payload)]
    return found


def _system(buffer: Buffer, kind: str, **fields: Any) -> None:
    buffer.append(SYSTEM, frame(pack_event(0, SYSTEM, kind, None, fields)))


def test_a_run_that_is_ended_by_a_signal_inside_of_a_roll_keeps_its_last_records(
    logged: Logged, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate, ended = logged.buffer._segments.allocate, []

    def interrupted(size: int, **options: Any) -> Any:
        if not ended:
            ended.append(True)
            logged.run.info("Last words", ballast=BALLAST)
            _system(logged.buffer, RESULT, status="KILLED")
            _system(logged.buffer, END, status="KILLED")
            logged.buffer.close()
        return allocate(size, **options)

    monkeypatch.setattr(logged.buffer._segments, "allocate", interrupted)
    while not ended:
        logged.run.info("Tick", ballast=BALLAST)
    assert _names(root)[-3:] == ["Last words", RESULT, END]


def test_at_each_step_of_a_roll_another_thread_appends_where_the_shipper_will_still_come(
    logged: Logged, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = logged.hot.write  # as a thread has it that was stopped right before its call
    taken, shipped = [], list[str]()

    def elsewhere(point: str) -> None:
        for way, write in (("earlier", earlier), ("present", logged.hot.write)):
            with contextlib.suppress(ValueError):
                write(frame(pack_event(0, INFO, f"{way} at {point}", None, {})))
                taken.append(f"{way} at {point}")
        shipped.extend(event[2] for event in logged.events())

    monkeypatch.setattr(buffer, "passed", elsewhere)
    ticks = 0
    while not taken:
        logged.run.info("Tick", ballast=BALLAST)
        ticks += 1
    assert taken == ["present at roll.shown"]
    assert shipped == ["Tick"] * (ticks - 1) + taken
    assert _names(root) == [*shipped, "Tick"]


def test_a_spare_too_small_for_a_large_event_leaves_no_file_behind(logged: Logged, root: Path) -> None:
    logged.buffer.prepare()
    (spare,) = root.glob("00000002.seg")
    logged.hot.append(INFO, frame(bytes(spare.stat().st_size)))
    assert sorted(path.name for path in root.glob("*.seg")) == ["00000001.seg", "00000003.seg"]


def test_a_full_spool_still_takes_how_the_run_ended(root: Path) -> None:
    logged = Logged(root, capacity=1 << 20)
    while not logged.buffer.head.shed_counts().get(50):
        logged.run.critical("Tick", ballast=BALLAST)
    _system(logged.buffer, RESULT, status="COMPLETED")
    _system(logged.buffer, END, status="COMPLETED")
    logged.buffer.close()
    assert _names(root)[-2:] == [RESULT, END]
    assert DEBUG not in read_head(root).shed


def test_on_a_full_disk_a_spool_still_takes_how_the_run_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = Logged(root, capacity=1 << 20)
    logged.buffer.prepare()
    full = SimpleNamespace(f_bavail=0, f_frsize=4096, f_blocks=1000)
    monkeypatch.setattr("os.statvfs", lambda _: full)
    while not logged.buffer.head.shed_counts().get(50):
        logged.run.critical("Tick", ballast=BALLAST)
    for kind in (RESULT, END):
        for _ in range(1000):
            logged.buffer.prepare()
            logged.run.critical("Tick", ballast=BALLAST)
        _system(logged.buffer, kind, ballast=5 * BALLAST)
    logged.buffer.close()
    assert _names(root)[-2:] == [RESULT, END]
    assert read_head(root).shed[50] == 2001


def test_what_came_in_the_middle_of_a_roll_and_finds_no_room_at_the_end_is_counted(root: Path) -> None:
    logged = Logged(root, capacity=1 << 20)
    while not logged.buffer.head.shed_counts().get(50):
        logged.run.critical("Tick", ballast=BALLAST)
    before = logged.buffer.head.shed_counts()[50]
    logged.buffer._rolling = True
    logged.buffer.append(50, frame(bytes(1 << 20)))
    logged.buffer.close()
    assert logged.buffer.head.shed_counts()[50] == before + 1


def test_what_a_full_spool_takes_besides_is_bounded(root: Path) -> None:
    logged = Logged(root, capacity=1 << 20)
    for _ in range(300):
        _system(logged.buffer, RESULT, ballast="x" * 100_000)
    assert sum(path.stat().st_size for path in root.glob("*.seg")) <= (1 << 20) + (4 << 20)


def test_what_comes_between_the_check_and_the_end_is_said(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diagnostics, "_said", {})
    logged.buffer.close()
    logged.hot.append(INFO, frame(b"too late"))
    logged.run.info("Too late as well")
    assert capsys.readouterr().err.count("after its run was finished") == 1


def test_counting_from_another_thread_is_exact_while_the_shipper_reads_and_trims(logged: Logged) -> None:
    stop, faults, counts = threading.Event(), [], []

    def count() -> None:
        try:
            while not stop.is_set():
                counts.append(logged.buffer.count())
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=count)
    thread.start()
    for number in range(1, 6001):
        logged.run.info("Tick", ballast=BALLAST)
        if number % 100 == 0 and (found := logged.buffer.read(1 << 20)):
            logged.buffer.acked(found.first + found.events - 1)
    stop.set()
    thread.join(20)
    assert faults == []
    assert counts == sorted(counts)
    assert logged.buffer.count() == 6000
