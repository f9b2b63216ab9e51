"""A spool that fills up sheds DEBUG first and ERROR last, counts it, and says where."""

from __future__ import annotations

import gc
import signal
import threading
from pathlib import Path

import msgpack
import pytest

from logferry.buffer import Buffer
from logferry.events import CRITICAL, DEBUG, ERROR, GAP, INFO, LEVELS, WARNING
from logferry.hot import Hot
from logferry.leftovers import Slice, read_dead
from logferry.logger import Logger
from logferry.spool import read_head
from support.records import events_of

CAPACITY = 1 << 20


@pytest.fixture
def hot() -> Hot:
    found = Hot()
    found.level, found.busy, found.clock, found.pack = DEBUG, False, lambda: 0, msgpack.Packer().pack
    return found


def _delivered(directory: Path) -> list[list]:
    found = []
    for one in read_dead(directory, 0, 1 << 20):
        assert isinstance(one, Slice), one
        found += events_of(one.payload)
    return found


def test_debug_is_shed_first_and_error_last_with_exact_counts(root: Path, hot: Hot) -> None:
    buffer = Buffer(root, CAPACITY, hot)
    log = Logger(hot, {})
    calls = dict.fromkeys(LEVELS, 0)
    refused: list[int] = []
    for number in range(4000):
        level = LEVELS[number % 5]
        before = buffer.head.shed_counts()
        log.at(level, "Event", None, {"ballast": "x" * 500})
        calls[level] += 1
        if buffer.head.shed_counts() != before and level not in refused:
            refused.append(level)
    assert refused[:3] == [DEBUG, INFO, WARNING]
    assert set(refused[3:]) == {ERROR, CRITICAL}
    delivered = _delivered(root)
    for level in LEVELS:
        assert sum(event[1] == level for event in delivered) + read_head(root).shed[level] == calls[level]


def test_a_gap_record_stands_before_the_first_event_after_a_shedding(root: Path, hot: Hot) -> None:
    buffer = Buffer(root, CAPACITY, hot)
    log = Logger(hot, {})
    while not buffer.head.shed_counts():
        log.debug("Event", ballast="x" * 1000)
    log.debug("Shed too")
    while found := buffer.read(1 << 20):
        buffer.acked(found.first + found.events - 1)
    log.debug("After")
    names = [event[2] for event in _delivered(root)]
    assert names[-2:] == [GAP, "After"]
    (gap,) = [event for event in _delivered(root) if event[2] == GAP]
    assert gap[4] == {"shed": {"DEBUG": 2}, "cause": "full"}


def test_a_disk_with_less_than_a_tenth_free_is_as_good_as_full(root: Path, hot: Hot, monkeypatch) -> None:
    buffer = Buffer(root, CAPACITY, hot)
    log = Logger(hot, {})
    full = type("Full", (), {"f_bavail": 1, "f_frsize": 4096, "f_blocks": 1000})
    with monkeypatch.context() as patch:
        patch.setattr("os.statvfs", lambda _: full)
        while not buffer.head.shed_counts():
            log.error("Event", ballast="x" * 1000)
        buffer.prepare()
        log.error("Shed")
    buffer.prepare()
    log.error("After")
    assert [event[2] for event in _delivered(root)][-2:] == [GAP, "After"]
    assert read_head(root).shed == {ERROR: 2}


def test_threads_that_log_while_segments_roll_lose_nothing(root: Path, hot: Hot) -> None:
    Buffer(root, 16 << 20, hot)
    log = Logger(hot, {})

    def work(name: int) -> None:
        for number in range(3000):
            log.info("Tick", who=name, number=number, ballast="x" * 100)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    delivered = [(event[4]["who"], event[4]["number"]) for event in _delivered(root)]
    for name in range(4):
        assert [number for who, number in delivered if who == name] == list(range(3000))


def test_a_signal_handler_that_logs_interrupts_nothing(root: Path, hot: Hot) -> None:
    Buffer(root, 16 << 20, hot)
    log = Logger(hot, {})
    ticks = 0

    def handler(*_: object) -> None:
        nonlocal ticks
        ticks += 1
        log.warning("Signal", number=ticks, ballast="x" * 2000)

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(8000):
            log.info("Tick", number=number, ballast="x" * 500)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    delivered = _delivered(root)
    assert [event[4]["number"] for event in delivered if event[2] == "Tick"] == list(range(8000))
    # A handler can be interrupted by the next signal's, between its count and its call.
    assert sorted(event[4]["number"] for event in delivered if event[2] == "Signal") == list(range(1, ticks + 1))
    assert ticks > 3


def test_a_call_from_inside_of_a_roll_is_kept_behind_it(root: Path, hot: Hot, monkeypatch) -> None:
    buffer = Buffer(root, 4 << 20, hot)
    log = Logger(hot, {})
    allocate = buffer._segments.allocate

    def allocate_and_log(size: int, **more):
        log.info("From inside")
        return allocate(size, **more)

    monkeypatch.setattr(buffer._segments, "allocate", allocate_and_log)
    while not buffer.head.outrun:
        log.info("Tick", ballast="x" * 1000)
    names = [event[2] for event in _delivered(root)]
    assert names.count("From inside") == 1
    assert set(names) == {"Tick", "From inside"}


class _LogsWhenPacked(dict):
    """A mapping whose own code logs while msgpack is at work on it."""

    def __init__(self, log: Logger) -> None:
        super().__init__(a=1)
        self.log = log

    def items(self):
        self.log.info("Inner", n=1)
        return super().items()


def test_a_value_that_logs_while_it_is_packed_spoils_no_record(root: Path, hot: Hot) -> None:
    Buffer(root, 1 << 20, hot)
    log = Logger(hot, {})
    log.info("Outer", value=_LogsWhenPacked(log))
    assert sorted(event[2] for event in _delivered(root)) == ["Inner", "Outer"]


def test_a_destructor_that_logs_during_a_collection_spoils_no_record(root: Path, hot: Hot) -> None:
    Buffer(root, 4 << 20, hot)
    log = Logger(hot, {})

    class Loud:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            log.info("Gone", n=1)

    old = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    try:
        for number in range(300):
            Loud()
            log.info("Tick", number=number, odd=object(), values=[1.5, {"a": (1, 2)}])
    finally:
        gc.set_threshold(*old)
        gc.collect()
    names = [event[2] for event in _delivered(root)]
    assert names.count("Tick") == 300
    assert names.count("Gone") == 300
