"""Adoption reads on behind what is durable, segment by segment, and calls nothing missing that is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from logferry.buffer import Buffer, frame
from logferry.events import INFO
from logferry.hot import Hot
from logferry.leftovers import Slice, is_blank, read_dead

EVENTS = 3000


@pytest.fixture
def directory(root: Path) -> Path:
    """A spool of several segments, all of them read by the shipper and none acked, whose owner is gone."""
    hot = Hot()
    hot.level, hot.busy, hot.clock = INFO, False, lambda: 0
    buffer = Buffer(root, 4 << 20, hot)
    for number in range(1, EVENTS + 1):
        buffer.append(INFO, frame(b"\x91" + number.to_bytes(100, "big")))
    while buffer.read(1 << 20):
        pass
    buffer.close()
    assert len(list(root.glob("*.seg"))) > 1
    return root


@pytest.mark.parametrize("after", [0, 1, 500, 900, EVENTS - 1, EVENTS])
def test_what_is_durable_is_passed_over_and_the_rest_follows_without_a_hole(directory: Path, after: int) -> None:
    found = list(read_dead(directory, after, 64 << 10))
    assert all(isinstance(one, Slice) for one in found)
    expected = after + 1
    for one in found:
        assert one.first == expected
        expected += one.events or 0
    assert expected == EVENTS + 1


@pytest.mark.parametrize("size", [0, 1, 32, 65_535, 65_536, 65_537, 200_000])
def test_blank_is_what_holds_no_other_byte_than_zero_wherever_it_would_be(size: int) -> None:
    blank = b"x" * 10 + bytes(size)
    assert is_blank(blank, 10)
    assert not is_blank(blank, 9)
    for place in {0, size // 2, size - 1} if size else ():
        assert not is_blank(blank[: 10 + place] + b"\1" + blank[11 + place :], 10)


def test_room_that_was_allocated_and_not_used_costs_an_adopter_little(directory: Path) -> None:
    head = next(directory.glob("*.seg")).read_bytes()[:16]
    for number in range(5):
        (directory / f"9999999{number}.seg").write_bytes(head.ljust(4 << 20, b"\0"))

    def took_s() -> float:
        began = time.process_time()
        list(read_dead(directory, EVENTS, 64 << 10))
        return time.process_time() - began

    # A look at each byte takes a quarter of a second.
    assert min(took_s() for _ in range(3)) < 0.1
