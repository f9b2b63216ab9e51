"""Numbers are believed only where their checksum holds: no change of a byte gives an event another's number."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from logferry import leftovers, spool
from logferry.buffer import frame
from logferry.segment import HEADER, RECORD_HEAD, first_number, header
from support.records import events_of

RECORDS = [frame(msgpack.packb([number, 20, "E", None, {}])) for number in range(10, 70)]


def _segments(root: Path, *sizes: int, first: int = 1, numbered: bool = True) -> None:
    number, records = first, iter(RECORDS)
    for place, size in enumerate(sizes, 1):
        data = header(number if numbered else 0) + b"".join(next(records) for _ in range(size))
        (root / f"{place:08d}.seg").write_bytes(data + bytes(100))
        number += size


def _delivered(root: Path, after: int = 0) -> dict[int, int]:
    """Return number → time of the events that are delivered; their time is their true number plus 9."""
    found = {}
    for piece in leftovers.read_dead(root, after, 1 << 20):
        if isinstance(piece, leftovers.Slice):
            found.update(enumerate((event[0] for event in events_of(piece.payload)), piece.first))
    return found


def _holes(root: Path) -> list[leftovers.Hole]:
    return [piece for piece in leftovers.read_dead(root, 0, 1 << 20) if isinstance(piece, leftovers.Hole)]


@pytest.mark.parametrize("numbered", [True, False])
def test_events_are_numbered_across_segments(root: Path, numbered: bool) -> None:
    _segments(root, 3, 4, 5, numbered=numbered)
    assert _delivered(root) == {number: number + 9 for number in range(1, 13)}


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("position", range(HEADER.size))
def test_a_flipped_byte_in_a_header_gives_no_event_another_number(root: Path, place: int, position: int) -> None:
    _segments(root, 3, 4, 5)
    path = root / f"{place:08d}.seg"
    data = bytearray(path.read_bytes())
    data[position] ^= 0x81
    path.write_bytes(data)
    found = _delivered(root)
    assert all(time == number + 9 for number, time in found.items())
    assert len(found) == 12 or _holes(root)
    if position >= 8:
        assert len(found) == 12


def test_the_oldest_segment_left_without_a_number_is_a_hole_and_not_number_one(root: Path) -> None:
    _segments(root, 3, 4, 5, first=1)
    (root / "00000001.seg").unlink()
    path = root / "00000002.seg"
    path.write_bytes(header(0) + path.read_bytes()[HEADER.size :])
    assert _delivered(root) == {number: number + 9 for number in range(8, 13)}
    (hole,) = _holes(root)
    assert (hole.first, hole.events, hole.reason) == (0, None, "checksum")


def test_a_spare_that_was_passed_over_changes_no_number(root: Path) -> None:
    _segments(root, 3, 4, 5)
    (root / "00000001.seg").unlink()
    (root / "00000002.seg").write_bytes(header(0) + bytes(500))
    path = root / "00000003.seg"
    path.write_bytes(header(54) + path.read_bytes()[HEADER.size :])
    assert list(_delivered(root)) == list(range(54, 59))
    assert _holes(root) == []


def test_a_missing_segment_is_a_hole_of_as_many_events(root: Path) -> None:
    _segments(root, 3, 4, 5)
    (root / "00000002.seg").unlink()
    assert _delivered(root) == {number: number + 9 for number in (1, 2, 3, 8, 9, 10, 11, 12)}
    assert _holes(root) == [leftovers.Hole(4, 4, "missing", b"")]


@pytest.mark.parametrize("victim", [1, 5, 11])
def test_no_wrong_length_swallows_events_and_renumbers_the_rest(root: Path, victim: int) -> None:
    _segments(root, 12)
    path = root / "00000001.seg"
    whole = path.read_bytes()
    for wrong in range(256):
        data = bytearray(whole)
        data[HEADER.size + (victim - 1) * len(RECORDS[0]) + 4] = wrong
        path.write_bytes(data)
        assert all(time == number + 9 for number, time in _delivered(root).items()), wrong
    assert len(RECORDS[0]) - RECORD_HEAD < 256


def test_a_header_says_its_number_and_a_changed_one_says_nothing() -> None:
    assert first_number(header(2**40)) == 2**40
    assert first_number(header(5)[:8] + (6).to_bytes(8, "big") + header(5)[16:]) is None
    assert first_number(b"") is None


def test_of_files_that_grew_beyond_all_measure_only_the_heads_are_read(root: Path) -> None:
    directory, lock = spool.create(root / "spool", "k3f9x2mq7a", {"pid": 1})
    os.close(lock)
    page = spool.HeadPage(directory)
    page.acked_through = 7
    page.save()
    for name in ("head", "hello", "00000001.seg"):
        with (directory / name).open("ab") as file:
            file.truncate(1 << 40)  # a read of all of it would end with MemoryError
    assert spool.read_head(directory).acked_through == 7
    found = spool.read_about(directory)
    assert isinstance(found, spool.SpoolDamage)
    assert found.reason == "checksum"
    assert spool.later_version(directory) is None


@pytest.mark.parametrize("read", [spool.read_head, spool.read_about, spool.later_version])
def test_what_is_no_plain_file_is_refused_and_nobody_waits_for_it(root: Path, read: Callable[[Path], Any]) -> None:
    for name in ("head", "hello", "00000001.seg"):
        os.mkfifo(root / name)
    with pytest.raises(OSError, match="is no regular file"):
        read(root)
