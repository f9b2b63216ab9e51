"""The producer's buffer against a model: what was accepted arrives once and in order, whatever happens in between."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from logferry.buffer import Buffer, Hot, frame
from logferry.events import DEBUG, ERROR, GAP, INFO, SYSTEM, WARNING
from logferry.spool import Slice, read_dead, read_head
from support.records import events_of

CAPACITY = 512 << 10
LEVELS = (DEBUG, INFO, WARNING, ERROR)


class Spooling(RuleBasedStateMachine):
    """`taken`: marks of the events that were accepted, in order; `shed`: how many were refused, by level."""

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lf-"))
        self.hot = Hot()
        self.hot.level, self.hot.busy, self.hot.clock = DEBUG, False, lambda: 0
        self.buffer = Buffer(self.directory, CAPACITY, self.hot)
        self.taken: list[int] = []
        self.shed = dict.fromkeys(LEVELS, 0)
        self.calls = 0
        self.durable: list[int] = []  # marks that the agent has, gap records left out
        self.expected = 1

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    @rule(level=st.sampled_from(LEVELS), size=st.sampled_from([10, 500, 9_000, 100_000]), times=st.integers(1, 40))
    def log(self, level: int, size: int, times: int) -> None:
        for _ in range(times):
            self.calls += 1
            if level < self.hot.threshold and not self.hot.admit(level):
                self.shed[level] += 1
                continue
            record = frame(msgpack.packb([0, level, "Event", None, {"mark": self.calls, "ballast": bytes(size)}]))
            before = self.buffer.head.shed_counts().get(level, 0)
            try:
                self.hot.write(record)
            except ValueError:
                self.hot.append(level, record)
            if self.buffer.head.shed_counts().get(level, 0) > before:
                self.shed[level] += 1
            else:
                self.taken.append(self.calls)

    @rule(limit=st.sampled_from([1, 5_000, 200_000]), times=st.integers(1, 20), acked=st.booleans())
    def ship(self, limit: int, times: int, acked: bool) -> None:
        for _ in range(times):
            found = self.buffer.read(limit)
            if found is None:
                return
            if found.first != self.expected:
                assert self.buffer.rewind(self.expected)
                continue
            payload = bytes(found.segment.view()[found.start : found.stop])
            self._take(events_of(payload))
            self.expected += found.events
            if acked:
                self.buffer.acked(self.expected - 1)

    @rule()
    def lose_what_is_on_its_way(self) -> None:
        assert self.buffer.rewind(self.buffer.head.acked_through + 1)
        assert self.buffer.next_number == self.buffer.head.acked_through + 1

    @rule()
    def prepare(self) -> None:
        while self.buffer.prepare():
            pass

    @rule()
    def sleep(self) -> None:
        self.buffer.sleep()

    @rule()
    def die_and_be_adopted(self) -> None:
        for one in read_dead(self.directory, self.expected - 1, 64 << 10):
            assert isinstance(one, Slice), one
            assert one.first == self.expected
            self._take(events_of(one.payload))
            self.expected += one.events
        assert self.durable == self.taken
        counted = read_head(self.directory).shed
        assert counted == {level: count for level, count in self.shed.items() if count}
        self.teardown()
        self.start()

    @invariant()
    def the_spool_is_bounded(self) -> None:
        if hasattr(self, "directory"):
            assert sum(path.stat().st_size for path in self.directory.glob("*.seg")) <= CAPACITY

    @invariant()
    def numbers_are_positions(self) -> None:
        if hasattr(self, "directory"):
            gaps = self.buffer.count() - len(self.taken)
            assert gaps >= 0

    def _take(self, events: list[list]) -> None:
        for event in events:
            if event[1] == SYSTEM:
                assert event[2] == GAP
            else:
                self.durable.append(event[4]["mark"])
        assert self.durable == self.taken[: len(self.durable)]


TestSpooling = Spooling.TestCase
TestSpooling.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
