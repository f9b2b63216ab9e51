"""A spool with torn or flipped bytes: what is whole is delivered, the rest is a hole, nothing is invented."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgpack
import pytest

from logferry import leftovers, spool
from logferry.buffer import Buffer, frame
from logferry.events import INFO
from logferry.hot import Hot
from logferry.segment import HEADER, RECORD_HEAD, header

EVENTS = [msgpack.packb([number, INFO, f"event {number}", None, {}]) for number in range(1, 13)]


@pytest.fixture
def directory(root: Path) -> Path:
    hot = Hot()
    hot.level, hot.busy, hot.clock = INFO, False, lambda: 0
    buffer = Buffer(root, 1 << 20, hot)
    for event in EVENTS:
        hot.write(frame(event))
    buffer.count()
    buffer.close()
    (segment,) = root.glob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(whole[: len(whole.rstrip(b"\0")) + 200])
    return root


def _events(slices: list[leftovers.Slice | leftovers.Hole]) -> list[tuple[int, bytes]]:
    """Return the numbered events of the slices, their checksums looked at once more."""
    found = []
    for one in slices:
        if isinstance(one, leftovers.Slice):
            position = 0
            for number in range(one.first, one.first + one.events):
                length = int.from_bytes(one.payload[position + 1 : position + 5], "big")
                event = one.payload[position + RECORD_HEAD : position + RECORD_HEAD + length]
                assert zlib.crc32(event) == int.from_bytes(one.payload[position + 6 : position + 10], "big")
                found.append((number, event))
                position += RECORD_HEAD + length
            assert position == len(one.payload)
    return found


def _read(directory: Path, after: int = 0) -> list[leftovers.Slice | leftovers.Hole]:
    return list(leftovers.read_dead(directory, after, 100))


def test_an_undamaged_spool_is_delivered_whole(directory: Path) -> None:
    assert _events(_read(directory)) == list(enumerate(EVENTS, 1))


def test_after_any_single_flipped_byte_nothing_is_invented_and_what_lies_before_is_there(directory: Path) -> None:
    (segment,) = directory.glob("*.seg")
    whole = segment.read_bytes()
    ends = [HEADER.size]
    for event in EVENTS:
        ends.append(ends[-1] + RECORD_HEAD + len(event))
    for position in range(HEADER.size, ends[-1]):
        segment.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        read = _read(directory)
        events = _events(read)
        assert set(events) <= set(enumerate(EVENTS, 1)), position
        hit = next(number for number, end in enumerate(ends) if position < end)
        assert events[: hit - 1] == list(enumerate(EVENTS, 1))[: hit - 1]
        # A change of the very last record looks like the call that never returned.
        reasons = {"checksum"} if hit < len(EVENTS) else {"checksum", "torn"}
        assert any(isinstance(one, leftovers.Hole) and one.reason in reasons for one in read), position


def test_a_flipped_byte_in_an_event_costs_that_event_only(directory: Path) -> None:
    (segment,) = directory.glob("*.seg")
    data = bytearray(segment.read_bytes())
    third = HEADER.size + 2 * (RECORD_HEAD + len(EVENTS[0])) + RECORD_HEAD + 3
    data[third] ^= 1
    segment.write_bytes(data)
    read = _read(directory)
    assert [number for number, _ in _events(read)] == [1, 2, *range(4, 13)]
    (hole,) = [one for one in read if isinstance(one, leftovers.Hole)]
    assert (hole.first, hole.events, hole.reason) == (3, 1, "checksum")
    assert EVENTS[2][4:] in hole.data


@pytest.mark.parametrize("kept", range(1, RECORD_HEAD + len(EVENTS[-1])))
def test_a_torn_last_record_is_a_call_that_never_returned(directory: Path, kept: int) -> None:
    (segment,) = directory.glob("*.seg")
    data = segment.read_bytes().rstrip(b"\0")
    begin = len(data) - RECORD_HEAD - len(EVENTS[-1])
    segment.write_bytes(data[: begin + kept] + bytes(300))
    read = _read(directory)
    assert [number for number, _ in _events(read)] == list(range(1, 12))
    assert [one.reason for one in read if isinstance(one, leftovers.Hole)] in ([], ["torn"])


def test_damage_in_what_is_durable_already_is_nobodys_loss(directory: Path) -> None:
    (segment,) = directory.glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[HEADER.size + RECORD_HEAD + 3] ^= 1
    segment.write_bytes(data)
    read = _read(directory, after=5)
    assert [number for number, _ in _events(read)] == list(range(6, 13))
    assert not [one for one in read if isinstance(one, leftovers.Hole)]


def test_a_segment_of_another_version_is_kept_as_a_hole(directory: Path) -> None:
    (segment,) = directory.glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[7] = 9
    segment.write_bytes(data)
    (hole,) = _read(directory)
    assert isinstance(hole, leftovers.Hole)
    assert (hole.reason, hole.data) == ("version", bytes(data))


def test_a_spare_that_was_never_used_is_no_hole(directory: Path) -> None:
    (directory / "00000002.seg").write_bytes(bytes(4096))
    (directory / "00000003.seg").write_bytes(b"")
    assert _events(_read(directory)) == list(enumerate(EVENTS, 1))
    assert not [one for one in _read(directory) if isinstance(one, leftovers.Hole)]


def test_hello_reads_back_and_after_any_flipped_byte_it_is_damage(root: Path) -> None:
    about = {"experiment_id": "e", "run_id": "r", "pid": 1}
    directory, lock = spool.create(root / "spool", "producer1", about)
    assert spool.read_about(directory) == about
    assert spool.lock_holder(directory / "lock") is None  # this process holds it: a process has no conflict with itself
    hello = (directory / "hello").read_bytes()
    for position in range(len(hello)):
        (directory / "hello").write_bytes(hello[:position] + bytes([hello[position] ^ 0x10]) + hello[position + 1 :])
        assert isinstance(spool.read_about(directory), spool.SpoolDamage), position
    os.close(lock)


def test_a_hello_that_is_no_map_or_no_msgpack_is_damage(root: Path) -> None:
    for packed in (b"\xc1", b"\x05", b"\x92\x01\x02", b"", b"\x81\x01"):
        head = spool._HELLO.pack(spool.HELLO_MAGIC, 1, zlib.crc32(packed))
        (root / "hello").write_bytes(head + packed)
        assert isinstance(spool.read_about(root), spool.SpoolDamage), packed


def test_the_head_page_survives_and_a_damaged_one_reads_as_zeros(root: Path) -> None:
    page = spool.HeadPage(root)
    for level in (10, 15, 20, 50):
        page.shed(level)
    page.acked_through = 7
    page.save()
    assert spool.read_head(root) == spool.Head(7, 0, {10: 2, 20: 1, 50: 1})
    (root / "head").write_bytes(b"short")
    assert spool.read_head(root) == spool.Head(0, 0, {})


@pytest.mark.parametrize("after", [0, 7])
def test_segments_behind_a_damaged_one_are_delivered_and_every_adopter_counts_them_alike(
    directory: Path, after: int
) -> None:
    """The shipper had not come to the second segment, so nobody had noted where its numbers begin."""
    (first,) = directory.glob("*.seg")
    second = directory / "00000002.seg"
    second.write_bytes(header(0) + b"".join(frame(event) for event in EVENTS) + bytes(64))
    data = bytearray(first.read_bytes())
    data[0] ^= 1
    first.write_bytes(data)
    begun = next(one for one in leftovers.read_dead(directory, after, 100) if isinstance(one, leftovers.Slice))
    assert begun.first == after + 1
    taken = begun.first + begun.events - 1
    rest = _events(_read(directory, taken))
    assert [number for number, _ in rest] == list(range(taken + 1, after + len(EVENTS) + 1))
    assert [event for _, event in rest] == EVENTS[begun.events :]
