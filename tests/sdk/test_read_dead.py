"""Adoption reads on behind what is durable, segment by segment, and calls nothing missing that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from logferry.buffer import Buffer, frame
from logferry.events import INFO
from logferry.hot import Hot
from logferry.leftovers import Slice, read_dead

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
