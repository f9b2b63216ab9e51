"""Pages are brought in ahead of the calls, as many as the producer needs and not more."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from logferry import pages
from logferry.buffer import frame
from logferry.segment import HEADER, Segment
from logferry.segments import Segments

PAGE = mmap.PAGESIZE
RECORD = frame(bytes(PAGE // 16 - 10))
# The interpreter itself takes one now and then.
FEW = 3


@pytest.fixture
def segments(root: Path) -> Iterator[Segments]:
    """A spool whose first segment is in use and whose second is prepared."""
    found = Segments(root, 16 << 20)
    found.spare()
    yield found
    for segment in [*found.live, found.spare()]:
        assert segment is not None
        segment.close()


def faults(work: Callable[[], object]) -> int:
    before = resource.getrusage(resource.RUSAGE_THREAD)
    work()
    after = resource.getrusage(resource.RUSAGE_THREAD)
    return after.ru_minflt - before.ru_minflt + after.ru_majflt - before.ru_majflt


def write(segment: Segment, pages: int) -> None:
    for _ in range(pages * 16):
        segment.write(RECORD)


def roll(segments: Segments) -> Segment:
    spare = segments.take_spare(len(RECORD))
    assert spare is not None
    segments.active.retire()
    segments.live.append(spare)
    return spare


def test_populated_pages_take_no_fault_when_they_are_written_to(segments: Segments) -> None:
    spare = segments.spare()
    assert spare is not None
    assert spare.mapping is not None
    pages.populate(spare.mapping, 0, spare.size)
    assert faults(lambda: write(spare, 200)) < FEW


def test_the_next_four_times_of_what_was_written_since_the_last_look_meet_no_fault(segments: Segments) -> None:
    write(segments.active, 2)
    segments.populate()
    assert faults(lambda: write(segments.active, 8)) < FEW


def test_what_is_ahead_grows_and_shrinks_with_the_load(segments: Segments) -> None:
    active = roll(segments)
    write(active, 8)
    segments.populate()
    once = active.ready
    assert once >= (8 + 4 * 8) * PAGE
    for _ in range(45 * 16):
        active.write(RECORD)
        segments.populate()
    assert active.ready == once


def test_a_quiet_producer_has_only_the_page_it_writes_to(segments: Segments) -> None:
    segments.active.write(RECORD)
    segments.populate()
    for _ in range(3):
        segments.populate()
    assert segments.active.ready == PAGE
    assert faults(lambda: write(segments.active, 8)) >= 8 - FEW


def test_near_the_end_of_a_segment_the_pages_of_the_next_are_brought_in(segments: Segments) -> None:
    write(segments.active, 14)
    segments.populate()
    following = roll(segments)
    assert faults(lambda: write(following, 40)) < FEW


def test_a_record_that_does_not_fit_leaves_the_rest_of_the_count_to_the_new_segment(segments: Segments) -> None:
    write(segments.active, 1)
    segments.populate()
    following = roll(segments)
    write(following, 4)
    segments.populate()
    assert segments.active.ready >= HEADER.size + (4 + 4 * 4) * PAGE


def test_the_disk_reads_no_page_ahead_of_the_one_that_is_touched(segments: Segments) -> None:
    maps = Path("/proc/self/smaps").read_text()
    flags = maps.split(str(segments.active.path))[1].split("VmFlags:")[1].splitlines()[0]
    assert "rr" in flags.split(), "it is mapped for reading in any order"
