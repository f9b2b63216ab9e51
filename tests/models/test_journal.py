"""The journal against a list, on a disk that fails, loses and tears: what was acked is there once and in order."""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from logferry_agent.journal import Damage, Entry, Journal, Record
from support.depth import IS_DEEP, depth, scratch
from support.fakefs import ERRNOS, SHORT, Crash, FakeFileSystem
from support.journals import Stepped, entries, events, everything

PRODUCERS = ("aaaaaaaa", "bbbbbbbb")
CALLS = ("", "fdatasync", "pwritev", "sync_directory", "open", "unlink", "pread", "close", "lstat", "listdir")


class History:
    """What was appended, acked and trimmed, and whether what a journal holds agrees with it."""

    def __init__(self) -> None:
        self.acked: list[Entry] = []
        self.queued: list[Entry] = []
        self.needed = 0  # index of the first acked entry that was not trimmed
        self.durable = 0
        self.stepped: Stepped | None = None

    def next_of(self, producer: str) -> int:
        own = [entry for entry in self.acked + self.queued if entry.producer == producer]
        return own[-1].first + own[-1].events if own else 1

    def take_acks(self, stepped: Stepped) -> None:
        acked, stepped.acked = stepped.acked, []
        assert acked == self.queued[: len(acked)], "acked what was not appended, or in another order"
        self.acked += acked
        del self.queued[: len(acked)]
        assert stepped.journal.durable >= self.durable, "durable went back"
        self.durable = stepped.journal.durable

    def compare(self, journal: Journal) -> None:
        items = everything(journal)
        found = [Entry(*item[2:7]) for item in items if isinstance(item, Record)]
        needed = self.acked[self.needed :]
        assert found[len(found) - len(needed) :] == needed, "what was acked is not there once and in order"
        # an unlink that the power failure undid
        older = iter(self.acked[: self.needed])
        assert all(entry in older for entry in found[: len(found) - len(needed)]), "something was invented"
        behind = items[len(items) - len(needed) :]
        assert not any(isinstance(item, Damage) for item in behind), "damage where nothing was damaged"
        for producer in PRODUCERS:
            row = journal.ledger.rows.get(producer)
            own = [entry for entry in self.acked if entry.producer == producer]
            assert (row.next if row else 1) == (own[-1].first + own[-1].events if own else 1)

    def reopened(self, journal: Journal) -> None:
        """Take in that some of what was queued survived a death, which is as good as acked then."""
        assert journal.durable >= self.durable, "durable went back"
        found = [Entry(*item[2:7]) for item in everything(journal) if isinstance(item, Record)]
        possible = self.acked + self.queued
        end = possible.index(found[-1]) + 1 if found else len(self.acked)
        assert end >= len(self.acked), "what was acked is lost"
        self.acked, self.queued = possible[:end], []
        self.compare(journal)
        self.durable = journal.durable


class JournalModel(RuleBasedStateMachine):
    """The journal's own loop runs on this thread, so that whatever fails can be repeated and made smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.root = scratch()
        self.history = History()
        self.fs = FakeFileSystem()
        self.stepped = Stepped(self.root / "node" / "journal", self.fs)

    @rule(
        producers=st.lists(st.sampled_from(PRODUCERS), min_size=1, max_size=4),
        count=st.integers(1, 3),
        size=st.integers(0, 400),
    )
    def append(self, producers: list[str], count: int, size: int) -> None:
        new = []
        for producer in producers:
            new.append(events(producer, self.history.next_of(producer), count, size))
            self.history.queued.append(new[-1])
        self.stepped.commit(*new)
        self.history.take_acks(self.stepped)

    @precondition(lambda self: self.history.queued)
    @rule()
    def try_again(self) -> None:
        self.stepped.commit()
        self.history.take_acks(self.stepped)

    @rule(
        operation=st.sampled_from(CALLS),
        number=st.sampled_from([*ERRNOS, SHORT]),
        times=st.integers(1, 3),
        after=st.integers(0, 2),
    )
    def the_disk_fails(self, operation: str, number: int, times: int, after: int) -> None:
        self.fs.fail(operation, number, times=times, after=after)

    @rule()
    def the_disk_works(self) -> None:
        self.fs.heal()
        assert self.stepped.commit()
        self.history.take_acks(self.stepped)
        assert self.stepped.journal.held is None or not self.history.acked

    @rule()
    def the_kernel_needs_memory(self) -> None:
        self.fs.drop_clean_pages()

    @rule(share=st.floats(0, 1))
    def trim(self, share: float) -> None:
        records = self.records()
        if records:
            self._trim(records[int(share * (len(records) - 1))])

    def _trim(self, record: Record) -> None:
        index = self.history.acked.index(Entry(*record[2:7]))
        self.history.needed = max(self.history.needed, index)
        self.stepped.journal.trim(record.position)

    @rule(seed=st.integers(0, 1 << 30), power=st.booleans(), again=st.sampled_from([0, 0, 1, 3, 5, 8, 12, 17, 25]))
    def end(self, seed: int, power: bool, again: int) -> None:
        """End the process, or the machine, and again in the middle of the recovery."""
        self._end(seed, power)
        if again:
            self.fs.crash_at = len(self.fs.calls) + again
            with contextlib.suppress(Crash):
                Stepped(self.root / "node" / "journal", self.fs)
            self._end(seed + 1, power)
        self.stepped = Stepped(self.root / "node" / "journal", self.fs)
        with self.fs.undisturbed():
            self.history.reopened(self.stepped.journal)

    def _end(self, seed: int, power: bool) -> None:
        self.fs.die()
        if power:
            self.fs.chance = random.Random(seed)
            self.fs.crash()
            self.fs = FakeFileSystem(random.Random(seed))

    @rule(
        step=st.integers(1, 12),
        producers=st.lists(st.sampled_from(PRODUCERS), min_size=1, max_size=3),
        size=st.integers(0, 400),
        trims=st.booleans(),
        seed=st.integers(0, 1 << 30),
        power=st.booleans(),
    )
    def end_in_the_middle(
        self, step: int, producers: list[str], size: int, trims: bool, seed: int, power: bool
    ) -> None:
        records = self.records()
        self.fs.crash_at = len(self.fs.calls) + step
        with contextlib.suppress(Crash):
            if trims and records:
                self._trim(records[-1])
            self.append(producers, 1, size)
        self.history.take_acks(self.stepped)
        self.end(seed, power, 0)

    def records(self) -> list[Record]:
        with self.fs.undisturbed():
            return [item for item in everything(self.stepped.journal) if isinstance(item, Record)]

    @invariant()
    def what_was_acked_is_there_once_and_in_order(self) -> None:
        with self.fs.undisturbed():
            self.history.compare(self.stepped.journal)

    def teardown(self) -> None:
        self.fs.die()
        shutil.rmtree(self.root, ignore_errors=True)


TestJournal = JournalModel.TestCase
TestJournal.settings = depth(40, 25)


def play(fs: FakeFileSystem, directory: Path, history: History) -> None:
    """Play two lives with everything in it: new segments, a failed sync, no room, short writes, trims."""
    crash_at = fs.crash_at
    for life in range(2):
        fs.crash_at = crash_at  # which the end of a life disarms
        history.stepped = stepped = Stepped(directory, fs)
        for number in range(6):
            new = [events(name, history.next_of(name), 2, 60 * number) for name in PRODUCERS[: 1 + number % 2]]
            for entry in new:
                history.queued.append(entry)
            if (life, number) == (0, 3):
                fs.fail("fdatasync", after=1)
            if number == 4:
                fs.fail("pwritev", SHORT, times=2)
                fs.fail("sync_directory")
            while not stepped.commit(*new):
                new = []
            history.take_acks(stepped)
            if number == 4:
                position = everything(stepped.journal)[-1].position
                history.needed = len(history.acked) - 1
                stepped.journal.trim(position)
        fs.die()


def played(directory: Path, step: int) -> tuple[FakeFileSystem, History, bool]:
    """Play the scene up to the crash at a step; say whether it came that far."""
    fs, history = FakeFileSystem(), History()
    fs.crash_at = step
    try:
        play(fs, directory, history)
    except Crash:
        if history.stepped:
            history.take_acks(history.stepped)
        return fs, history, True
    return fs, history, False


def swept(again: list[int], seeds: range) -> int:
    """Crash at every step, each time also at these steps of the recovery (0: not); return how many crashes that was."""
    crashes = step = 0
    is_in_it = True
    while is_in_it:
        step += 1
        for second in again:
            for seed in seeds:
                root = scratch()
                fs, history, is_in_it = played(root / "node" / "journal", step)
                fs.die()
                fs.chance = random.Random(seed)
                fs.crash()
                crashes += 1
                if second:
                    fs = FakeFileSystem(random.Random(seed))
                    fs.crash_at = second
                    with contextlib.suppress(Crash):
                        Stepped(root / "node" / "journal", fs)
                    fs.die()
                    fs.crash()
                history.reopened(Stepped(root / "node" / "journal", FakeFileSystem()).journal)
                shutil.rmtree(root)
    assert step > 100
    return crashes


def test_a_power_failure_at_every_single_call_loses_nothing_that_was_acked() -> None:
    swept([0], range(20 if IS_DEEP else 1))


@pytest.mark.timeout(3600)
def test_nor_does_one_in_the_middle_of_the_recovery() -> None:
    swept(list(range(1, 40)) if IS_DEEP else [7], range(2 if IS_DEEP else 1))


@pytest.mark.parametrize("calls", [["fdatasync", "close"], ["pwritev", "close"], ["close"]])
def test_a_close_that_fails_costs_nothing_and_its_descriptor_is_used_no_more(calls: list[str]) -> None:
    directory, fs = scratch() / "node" / "journal", FakeFileSystem()
    stepped = Stepped(directory, fs)
    new = [events("aaaaaaaa", first, 1, 400) for first in range(1, 9)]
    for entry in new:  # every second one is the first of a segment
        for call in calls:
            fs.fail(call)
        stepped.commit(entry)
        fs.heal()
        while not stepped.commit():
            pass
    assert stepped.acked == entries(stepped.journal) == new
    fs.die()
    shutil.rmtree(directory.parent.parent)


def test_a_header_whose_sync_failed_before_the_process_died_is_no_place_to_go_back_from() -> None:
    for seed in range(8):
        directory, fs = scratch() / "node" / "journal", FakeFileSystem(random.Random(seed))
        fs.fail("fdatasync")
        fs.crash_at = 8  # the call after that sync
        with pytest.raises(Crash):
            Stepped(directory, fs).commit(events("aaaaaaaa", 1))
        assert list(directory.glob("*.jnl"))
        fs.die()
        durable = Stepped(directory, fs).journal.durable
        fs.crash()
        assert Stepped(directory, FakeFileSystem()).journal.durable >= durable
        shutil.rmtree(directory.parent.parent)
