"""The journal: what it acked is read back, whatever the disk does."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from logferry_agent.journal import EVENTS, Damage, Entry, Journal
from logferry_agent.journal_recovery import segment_path
from support.fakefs import FakeFileSystem
from support.journals import Opened, agent_event, entries, events, everything, hello


@pytest.fixture
def directory(root: Path) -> Path:
    (root / "node").mkdir()
    return root / "node" / "journal"


def _wait(condition: object, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_was_committed_is_read_back_in_order_with_its_positions(directory: Path) -> None:
    opened = Opened(directory)
    said = [hello("aaaaaaaa"), events("aaaaaaaa", 1, 3), events("aaaaaaaa", 4, 2)]
    assert opened.commit(*said) == said
    records = everything(opened.journal)
    assert [record.end for record in records[:-1]] == [record.position for record in records[1:]]
    assert records[-1].end == opened.journal.durable
    assert entries(opened.journal) == said
    assert opened.journal.close()


def test_where_many_producers_share_a_sync_the_next_one_gathers(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.journal._GATHER_S", 0.3)
    synced: list[float] = []
    journal = Journal(directory, FakeFileSystem(), lambda *_: synced.append(time.monotonic()), time.time_ns)
    journal.append([hello(f"aaaaaaa{number}") for number in range(6)])
    journal.start()
    _wait(lambda: synced)
    journal.append([events("aaaaaaa1", 1)])
    _wait(lambda: len(synced) == 2)
    assert synced[1] - synced[0] >= 0.3
    journal.close()


def test_whoever_is_alone_waits_for_no_others(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.journal._GATHER_S", 60)
    opened = Opened(directory)
    for number in range(1, 8):
        opened.commit(events("aaaaaaaa", number))
    opened.journal.close()


def test_reading_with_a_tiny_limit_gives_the_same_records(directory: Path) -> None:
    opened = Opened(directory, segment_bytes=600)
    opened.commit(*(events("aaaaaaaa", number, 1, size=number * 7) for number in range(1, 40)))
    assert everything(opened.journal, limit=1) == everything(opened.journal)
    opened.journal.close()


def test_a_reopened_journal_goes_on_in_a_new_segment_and_knows_every_producer(directory: Path) -> None:
    first = Opened(directory)
    first.commit(hello("aaaaaaaa"), events("aaaaaaaa", 1, 5), agent_event(1, "aaaaaaaa"))
    first.journal.close()
    second = Opened(directory)
    row = second.journal.ledger.rows["aaaaaaaa"]
    assert (row.next, row.sealed, second.journal.ledger.agent_next) == (6, True, 2)
    before = second.journal.durable
    second.commit(events("aaaaaaaa", 6))
    assert second.journal.durable > before
    assert len(list(directory.glob("*.jnl"))) == 2
    assert [entry.first for entry in entries(second.journal)] == [0, 1, 1, 6]
    second.journal.close()


def test_opening_reads_only_the_newest_segment(directory: Path) -> None:
    first = Opened(directory, segment_bytes=300)
    first.commit(hello("aaaaaaaa"))
    for number in range(1, 30):
        first.commit(events("aaaaaaaa", number))
    first.journal.close()
    fs = FakeFileSystem()
    journal = Journal(directory, fs, print, time.time_ns)
    assert fs.calls.count("open") == 2
    assert journal.ledger.rows["aaaaaaaa"].next == 30


def test_a_torn_end_is_cut_and_what_lies_before_it_stays(directory: Path) -> None:
    first = Opened(directory)
    first.commit(events("aaaaaaaa", 1))
    first.commit(events("aaaaaaaa", 2))
    first.journal.close()
    path = segment_path(directory, 1)
    os.truncate(path, path.stat().st_size - 3)
    second = Opened(directory)
    assert second.journal.ledger.rows["aaaaaaaa"].next == 2
    second.commit(events("aaaaaaaa", 2))
    assert [entry.first for entry in entries(second.journal)] == [1, 2]
    second.journal.close()


def test_a_corrupt_middle_is_skipped_reported_and_kept(directory: Path) -> None:
    first = Opened(directory)
    for number in (1, 2, 3):
        first.commit(events("aaaaaaaa", number))
    middle = everything(first.journal)[1]
    first.journal.close()
    _flip(segment_path(directory, 1), (middle.position & 0xFFFFFFFF) + 90)
    second = Opened(directory)
    found = everything(second.journal)
    assert [type(item) for item in found].count(Damage) == 1
    assert found[1] == (middle.position, middle.end)
    assert second.journal.ledger.rows["aaaaaaaa"].next == 4
    assert len(list((directory / "bad").iterdir())) == 1
    second.journal.close()


def _flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def test_after_any_single_flipped_byte_all_other_durable_records_are_read(directory: Path) -> None:
    first = Opened(directory)
    said = [hello("aaaaaaaa"), events("aaaaaaaa", 1), events("aaaaaaaa", 2)]
    for entry in said:
        first.commit(entry)
    first.journal.close()
    path = segment_path(directory, 1)
    sound = path.read_bytes()
    for offset in range(len(sound)):
        path.write_bytes(sound)
        _flip(path, offset)
        found = entries(Journal(directory, FakeFileSystem(), print, time.time_ns))
        assert len(found) >= 2
        assert [entry for entry in said if entry in found] == found


def test_a_full_disk_is_held_said_and_overcome_without_losing_or_doubling(directory: Path) -> None:
    fs = FakeFileSystem()
    opened = Opened(directory, fs)
    opened.commit(events("aaaaaaaa", 1))
    fs.fail("pwritev", errno.ENOSPC, times=10**9)
    opened.journal.append([events("aaaaaaaa", 2)])
    _wait(lambda: opened.journal.held)
    assert opened.journal.held is not None
    assert opened.journal.held.error.startswith("write: No space left")
    assert opened.acked.empty()
    fs.heal()
    assert opened.acked.get(timeout=30)[0] == [events("aaaaaaaa", 2)]
    assert opened.journal.held is None
    assert [entry.first for entry in entries(opened.journal)] == [1, 2]
    opened.journal.close()


def test_a_disk_that_is_full_when_the_agent_starts_is_overcome_too(directory: Path) -> None:
    fs = FakeFileSystem()
    opened = Opened(directory, fs)
    fs.fail("pwritev", errno.ENOSPC, times=3)
    opened.commit(events("aaaaaaaa", 1))
    assert [entry.first for entry in entries(opened.journal)] == [1]
    opened.journal.close()


def test_after_a_failed_sync_nothing_more_goes_to_that_segment(directory: Path) -> None:
    fs = FakeFileSystem()
    opened = Opened(directory, fs)
    opened.commit(events("aaaaaaaa", 1))
    fs.fail("fdatasync")
    opened.commit(events("aaaaaaaa", 2))
    assert sorted(path.name[-6:] for path in directory.glob("*.jnl")) == ["01.jnl", "02.jnl"]
    assert [entry.first for entry in entries(opened.journal)] == [1, 2]
    opened.journal.close()
    fs.crash()
    assert [entry.first for entry in entries(Journal(directory, FakeFileSystem(), print, time.time_ns))] == [1, 2]


def test_short_writes_are_completed(directory: Path) -> None:
    fs = FakeFileSystem()
    fs.short_writes = True
    opened = Opened(directory, fs)
    said = [events("aaaaaaaa", number, 1, size=300) for number in range(1, 20)]
    opened.commit(*said)
    assert entries(opened.journal) == said
    opened.journal.close()


def test_trimming_removes_whole_segments_and_never_the_newest(directory: Path) -> None:
    opened = Opened(directory, segment_bytes=300)
    for number in range(1, 10):
        opened.commit(events("aaaaaaaa", number))
    before = opened.journal.used_bytes
    opened.journal.trim(opened.journal.durable)
    assert len(list(directory.glob("*.jnl"))) == 1
    assert opened.journal.used_bytes < before
    opened.journal.close()
    reopened = Opened(directory)
    assert reopened.journal.ledger.rows["aaaaaaaa"].next == 10
    reopened.journal.close()


def test_a_segment_that_somebody_removed_is_damage_and_the_others_are_read(directory: Path) -> None:
    opened = Opened(directory, segment_bytes=300)
    for number in range(1, 10):
        opened.commit(events("aaaaaaaa", number))
    opened.journal.close()
    segment_path(directory, 2).unlink()
    reopened = Opened(directory)
    found = everything(reopened.journal)
    assert [item.position >> 32 for item in found if isinstance(item, Damage)] == [2]
    assert found[-1].first == 9
    reopened.journal.close()


def test_closing_makes_durable_what_is_queued(directory: Path) -> None:
    opened = Opened(directory)
    opened.journal.append(events("aaaaaaaa", number) for number in range(1, 200))
    assert opened.journal.close()
    assert len(entries(Journal(directory, FakeFileSystem(), print, time.time_ns))) == 199


def test_what_a_failed_sync_left_in_memory_is_written_again_before_it_counts(directory: Path) -> None:
    """The agent restarts, the machine does not: the bytes can be read, and would be gone with the power."""
    fs = FakeFileSystem()
    opened = Opened(directory, fs)
    opened.commit(events("aaaaaaaa", 1))
    fs.fail("fdatasync", times=10**9)
    opened.journal.append([events("aaaaaaaa", 2)])
    _wait(lambda: opened.journal.held)
    opened.journal.close()
    fs.heal()
    assert Journal(directory, fs, print, time.time_ns).ledger.rows["aaaaaaaa"].next == 3
    fs.crash()
    assert Journal(directory, FakeFileSystem(), print, time.time_ns).ledger.rows["aaaaaaaa"].next == 3


def test_a_journals_bytes_inside_of_a_payload_are_never_taken_for_a_record(directory: Path) -> None:
    first = Opened(directory)
    first.commit(events("aaaaaaaa", 1))
    record = everything(first.journal)[0]
    path = segment_path(directory, 1)
    copy = path.read_bytes()[record.position & 0xFFFFFFFF : record.end & 0xFFFFFFFF]
    first.commit(Entry(EVENTS, "bbbbbbbb", 1, 1, copy * 3))
    first.commit(events("aaaaaaaa", 2))
    damaged = everything(first.journal)[1]
    first.journal.close()
    _flip(path, (damaged.position & 0xFFFFFFFF) + 5)
    found = entries(Journal(directory, FakeFileSystem(), print, time.time_ns))
    assert [(entry.producer, entry.first) for entry in found] == [("aaaaaaaa", 1), ("aaaaaaaa", 2)]
