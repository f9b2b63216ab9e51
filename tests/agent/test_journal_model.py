"""The journal against a model, on a disk that loses and tears what was not synced."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from logferry_agent.journal import Entry, Record
from support.fakefs import FakeFileSystem
from support.journals import Opened, entries, events, everything

PRODUCERS = ("aaaaaaaa", "bbbbbbbb")


class JournalModel(RuleBasedStateMachine):
    """`acked` is what the journal said to be durable; the next run of the agent must find it, once and in order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lf-"))
        (self.root / "node").mkdir()
        self.acked: list[Entry] = []
        self.durable = 0
        self.trimmed = 0
        self.seed = 0
        self.sent = dict.fromkeys(PRODUCERS, 0)
        self.open()

    def open(self) -> None:
        self.fs = FakeFileSystem(random.Random(self.seed))
        self.opened = Opened(self.root / "node" / "journal", self.fs, segment_bytes=700, retry_s=0.001)
        assert self.opened.journal.durable >= self.durable

    def take_acks(self, count: int) -> None:
        while len(self.acked) < count:
            more, self.durable = self.opened.acked.get(timeout=20)
            self.acked += more

    @rule(producer=st.sampled_from(PRODUCERS), count=st.integers(1, 4), size=st.integers(0, 400))
    def commit(self, producer: str, count: int, size: int) -> None:
        self.opened.journal.append([events(producer, self.sent[producer] + 1, count, size)])
        self.sent[producer] += count
        self.take_acks(len(self.acked) + 1)

    @rule(
        operation=st.sampled_from(["fdatasync", "pwritev", "sync_directory", "open", "unlink"]),
        number=st.sampled_from([errno.EIO, errno.ENOSPC]),
        times=st.integers(1, 3),
    )
    def the_disk_fails(self, operation: str, number: int, times: int) -> None:
        self.fs.fail(operation, number, times=times)

    @rule(short=st.booleans())
    def short_writes(self, short: bool) -> None:
        self.fs.short_writes = short

    @rule(which=st.floats(0, 1))
    def trim(self, which: float) -> None:
        records = self.records()
        if records:
            self.fs.heal()
            position = records[int(which * (len(records) - 1))].position
            self.opened.journal.trim(position)
            self.trimmed = len(self.acked) - len(self.records())
            assert self.records()[0].position <= position

    @rule(seed=st.integers(0, 1 << 30), unsynced=st.integers(0, 3))
    def crash(self, seed: int, unsynced: int) -> None:
        """Stop with appended but unsynced entries, let the disk forget, open again."""
        self.fs.heal()
        self.fs.fail("fdatasync", times=10**9)
        late = [events("aaaaaaaa", self.sent["aaaaaaaa"] + 1 + number) for number in range(unsynced)]
        self.opened.journal.append(late)
        self.opened.journal.close(20)
        self.fs._chance.seed(seed)
        self.fs.crash()
        self.seed = seed
        self.open()
        possible = self.acked + late
        found = entries(self.opened.journal)
        end = possible.index(found[-1]) + 1 if found else len(self.acked)
        assert end >= len(self.acked)
        self.sent["aaaaaaaa"] += end - len(self.acked)
        self.acked = possible[:end]

    @rule()
    def reopen(self) -> None:
        self.fs.heal()
        self.opened.journal.close(20)
        self.open()

    def records(self) -> list[Record]:
        return [item for item in everything(self.opened.journal) if isinstance(item, Record)]

    @invariant()
    def what_was_acked_is_there_once_and_in_order(self) -> None:
        self.fs.heal()
        found = entries(self.opened.journal)
        assert found == self.acked[len(self.acked) - len(found) :]
        assert len(found) >= len(self.acked) - self.trimmed

    @invariant()
    def the_ledger_follows(self) -> None:
        for producer in PRODUCERS:
            row = self.opened.journal.ledger.rows.get(producer)
            assert (row.next if row else 1) == self.sent[producer] + 1

    def teardown(self) -> None:
        self.fs.heal()
        self.opened.journal.close(20)
        shutil.rmtree(self.root, ignore_errors=True)


TestJournalModel = JournalModel.TestCase
TestJournalModel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
