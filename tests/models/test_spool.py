"""The producer's spool against a list: what was accepted arrives once and in order, whatever happens in between.

A death leaves the files as they are: so every look of an adopter is at a copy of them, whole or damaged.
"""

from __future__ import annotations

import bisect
import os
import shutil
from collections import Counter
from pathlib import Path

import msgpack
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from logferry.buffer import Buffer, frame
from logferry.events import DEBUG, ERROR, GAP, INFO, SYSTEM, WARNING, level_number
from logferry.hot import Hot
from logferry.leftovers import Hole, Slice, read_dead
from logferry.segment import HEADER
from logferry.spool import read_head
from support.depth import depth, scratch
from support.records import events_of

CAPACITY = 512 << 10
LEVELS = (DEBUG, INFO, WARNING, ERROR)


class Spooling(RuleBasedStateMachine):
    """`taken`: marks of the events that were accepted, in order; `shed`: those that were refused, by level."""

    @initialize()
    def start(self) -> None:
        self.root = scratch()
        self.directory = self.root / "spool"
        self.directory.mkdir()
        self.hot = Hot()
        self.hot.level, self.hot.busy, self.hot.clock = DEBUG, False, lambda: 0
        self.buffer = Buffer(self.directory, CAPACITY, self.hot)
        self.taken: list[int] = []
        self.shed: dict[int, list[int]] = {level: [] for level in LEVELS}
        self.calls = 0
        self.arrived: list[list] = []  # events that the agent has, by number
        self.where: dict[int, str] = {}  # the segment that a mark is in

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.buffer.release()
            shutil.rmtree(self.root)

    # the job

    @rule(level=st.sampled_from(LEVELS), size=st.sampled_from([10, 500, 9_000, 100_000]), times=st.integers(1, 40))
    def log(self, level: int, size: int, times: int) -> None:
        for _ in range(times):
            self.calls += 1
            if level < self.hot.threshold and not self.hot.admit(level):
                self.shed[level].append(self.calls)
                continue
            record = frame(msgpack.packb([0, level, "Event", None, {"mark": self.calls, "ballast": bytes(size)}]))
            before = self.buffer.head.shed_counts().get(level, 0)
            try:
                self.hot.write(record)
            except ValueError:
                self.hot.append(level, record)
            if self.buffer.head.shed_counts().get(level, 0) > before:
                self.shed[level].append(self.calls)
            else:
                self.taken.append(self.calls)
                self.where[self.calls] = self.buffer._segments.active.path.name

    # the shipper

    @rule(limit=st.sampled_from([1, 5_000, 200_000]), times=st.integers(1, 20), acked=st.booleans())
    def ship(self, limit: int, times: int, acked: bool) -> None:
        for _ in range(times):
            found = self.buffer.read(limit)
            if found is None:
                return
            if found.first != len(self.arrived) + 1:
                assert self.buffer.rewind(len(self.arrived) + 1)
                continue
            self._arrive(events_of(bytes(found.segment.view()[found.start : found.stop])), found.events)
            if acked:
                self.buffer.acked(len(self.arrived))

    @rule(share=st.floats(0, 1))
    def an_older_ack_comes(self, share: float) -> None:
        self.buffer.acked(int(share * len(self.arrived)))

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

    @rule(level=st.sampled_from(LEVELS), size=st.sampled_from([500, 9_000]), keep=st.booleans())
    def fill_and_drain(self, level: int, size: int, keep: bool) -> None:
        self.log(level, size, CAPACITY // size + 5)
        self.ship(200_000, 20, not keep)
        self.prepare()
        self.log(level, 10, 1)
        self.ship(200_000, 20, True)

    # the end

    @rule(limit=st.sampled_from([1, 5_000, 64 << 10, 1 << 20]), crash_after=st.integers(0, 5))
    def die_and_be_adopted(self, limit: int, crash_after: int) -> None:
        """Be read by an adopter that dies after some slices, and by the next one, which knows what became durable."""
        image = self._image()
        for budget in (crash_after, 1 << 30):
            for count, one in enumerate(read_dead(image, len(self.arrived), limit)):
                assert isinstance(one, Slice), one
                if count >= budget:
                    break
                assert one.first == len(self.arrived) + 1
                self._arrive(events_of(one.payload), one.events)
        assert self._marks(self.arrived) == self.taken
        assert read_head(image).shed == {level: len(calls) for level, calls in self.shed.items() if calls}
        self.teardown()
        self.start()

    @rule(cut=st.floats(0, 1), size=st.sampled_from([1, 300, 5000]))
    def die_inside_of_a_call(self, cut: float, size: int) -> None:
        """Leave a part of a record behind the last one: its call never returned."""
        image = self._image()
        segment = self.buffer._segments.active
        record = frame(msgpack.packb([0, INFO, "Event", None, {"mark": 0, "ballast": b"\x01" * size}]))
        torn = record[: int(cut * (len(record) - 1))]
        if segment.tell() + len(record) <= segment.size:
            with (image / segment.path.name).open("r+b") as file:
                file.seek(segment.tell())
                file.write(torn)
        found = list(read_dead(image, len(self.arrived), 64 << 10))
        assert all(one.reason == "torn" for one in found if isinstance(one, Hole))
        assert self._marks(self.arrived + self._events(found)) == self.taken

    @rule(segment=st.floats(0, 1), at=st.floats(0, 1), bit=st.integers(0, 7), crash_after=st.integers(0, 3))
    def a_byte_rots(self, segment: float, at: float, bit: int, crash_after: int) -> None:
        """Only what is in that segment at or behind that byte may be missing, and then a hole says so."""
        image = self._image()
        path = sorted(image.glob("*.seg"))[int(segment * (len(list(image.glob("*.seg"))) - 1))]
        data = bytearray(path.read_bytes())
        used = len(data.rstrip(b"\0"))
        place = int(at * (used - 1)) if at < 0.9 else min(used - 1, int((at - 0.9) * 10 * HEADER.size))
        data[place] ^= 1 << bit
        path.write_bytes(data)
        found = self._found_by_two(image, crash_after)
        marks, wanted = self._marks(self._events(found)), self.taken[len(self._marks(self.arrived)) :]
        order = iter(self.taken)
        assert all(mark in order for mark in marks), "invented, twice, or out of order"
        missing = set(wanted) - set(marks)
        assert {self.where[mark] for mark in missing} <= {path.name}, "lost from a segment that is sound"
        assert not missing or any(isinstance(one, Hole) for one in found), "lost in silence"
        numbers = [one.first for one in found if isinstance(one, Slice)]
        ends = [one.first + one.events for one in found if isinstance(one, Slice)]
        assert all(first >= end for first, end in zip(numbers, [len(self.arrived) + 1, *ends], strict=False))

    def _found_by_two(self, image: Path, crash_after: int) -> list[Slice | Hole]:
        """Return what an adopter that dies, and the one after it, come to; of holes both may speak."""
        found: list[Slice | Hole] = []
        after = len(self.arrived)
        for budget in (crash_after, 1 << 30):
            for count, one in enumerate(read_dead(image, after, 5000)):
                if count >= budget:
                    break
                found.append(one)
                after = max(after, one.first + (one.events or 0) - 1)
        return found

    def _image(self) -> Path:
        image = self.root / "image"
        shutil.rmtree(image, ignore_errors=True)
        shutil.copytree(self.directory, image)
        return image

    def _events(self, found: list[Slice | Hole]) -> list[list]:
        return [event for one in found if isinstance(one, Slice) for event in events_of(one.payload)]

    # the oracle

    def _arrive(self, events: list[list], count: int) -> None:
        assert len(events) == count
        self.arrived += events
        marks = self._marks(self.arrived)
        assert marks == self.taken[: len(marks)]
        self._gaps_are_where_they_belong(len(self.arrived) - count)

    def _marks(self, events: list[list]) -> list[int]:
        return [event[4]["mark"] for event in events if event[1] != SYSTEM]

    def _gaps_are_where_they_belong(self, start: int) -> None:
        """When a level is taken again, all that was shed of it before is marked before."""
        told: Counter[int] = Counter()
        for number, event in enumerate(self.arrived):
            if event[1] == SYSTEM:
                assert (event[2], event[4]["cause"]) == (GAP, "full")
                told.update({level_number(name): count for name, count in event[4]["shed"].items()})
            elif number >= start:
                level, mark = event[1], event[4]["mark"]
                assert told[level] == bisect.bisect(self.shed[level], mark), "shed, and not marked where it was"

    @invariant()
    def the_spool_is_bounded(self) -> None:
        if hasattr(self, "root"):
            assert sum(path.stat().st_size for path in self.directory.glob("*.seg")) <= CAPACITY

    @invariant()
    def nothing_is_unlinked_that_is_not_durable(self) -> None:
        if hasattr(self, "root"):
            there = set(os.listdir(self.directory))
            unacked = self.taken[len(self._marks(self.arrived[: self.buffer.head.acked_through])) :]
            assert {self.where[mark] for mark in unacked} <= there

    @invariant()
    def numbers_are_positions(self) -> None:
        if hasattr(self, "root"):
            assert self.buffer.count() >= len(self.taken)


TestSpooling = Spooling.TestCase
TestSpooling.settings = depth(15, 30)
