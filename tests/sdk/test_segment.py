"""The bytes of a segment: what is written is walked, found whole, and read again."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry import pages
from logferry.buffer import frame
from logferry.segment import HEADER, RECORD_HEAD, MappedSegment, Segment, WrittenSegment, head_at, skip, walk

payloads = st.lists(st.binary(min_size=6, max_size=400), max_size=30)


def _mapped(path: Path) -> Segment:
    return MappedSegment(path, 64 << 10)


def _written(path: Path) -> Segment:
    return WrittenSegment(path, 64 << 10)


def _in_memory(_: Path) -> Segment:
    return MappedSegment(None, 64 << 10)


kinds = pytest.mark.parametrize("make", [_mapped, _written, _in_memory])


@kinds
@given(events=payloads)
def test_whole_records_are_walked_one_by_one_and_skipped(make, events: list[bytes], tmp_path_factory) -> None:
    segment = make(tmp_path_factory.mktemp("segment") / "1.seg")
    for event in events:
        segment.write(frame(event))
    view = segment.view()
    stop, count = walk(view, HEADER.size, segment.tell(), 1 << 30)
    assert (stop, count) == (segment.tell(), len(events))
    assert skip(view, HEADER.size, count) == stop
    assert walk(view, HEADER.size, stop, 1)[1] == min(1, len(events))
    segment.close()


@given(
    runs=st.lists(st.tuples(st.integers(6, 40), st.integers(1, 200)), max_size=6),
    limit=st.integers(1, 20_000),
    byte=st.sampled_from([0, 0xCE, 0x2A]),
)
def test_records_of_one_size_are_walked_as_if_one_by_one(runs: list[tuple[int, int]], limit: int, byte: int) -> None:
    sizes = [size for size, times in runs for _ in range(times)]
    data = b"".join(frame(bytes([byte]) * size) for size in sizes) + bytes(500)
    position = count = 0
    for size in sizes:
        if count and position + RECORD_HEAD + size > limit:
            break
        position, count = position + RECORD_HEAD + size, count + 1
    assert walk(data, 0, len(data), limit) == (position, count)


def test_a_run_of_equal_sizes_may_end_anywhere() -> None:
    for place, byte in itertools.product(range(60, 200), (0, 0xCE)):
        data = b"".join(frame(bytes([byte]) * size) for size in (*[20] * place, 21, *[20] * 100))
        assert walk(data, 0, len(data), 1 << 20) == (len(data), place + 101)


def test_mapped_and_written_segments_have_the_same_bytes(root: Path) -> None:
    mapped, written = _mapped(root / "mapped"), _written(root / "written")
    for number in range(100):
        for segment in (mapped, written):
            segment.write(frame(b"event %d" % number))
    for segment in (mapped, written):
        segment.number(7)
    assert (root / "mapped").read_bytes().rstrip(b"\0") == (root / "written").read_bytes().rstrip(b"\0")


@kinds
def test_a_record_that_does_not_fit_is_refused_whole(make, root: Path) -> None:
    segment = make(root / "1.seg")
    end = segment.tell()
    with pytest.raises(ValueError):
        segment.write(frame(bytes(64 << 10)))
    assert segment.tell() == end
    segment.write(frame(b"small one"))
    assert walk(segment.view(), end, segment.tell(), 1 << 30)[1] == 1


@kinds
def test_a_retired_segment_takes_nothing_from_anybody(make, root: Path) -> None:
    segment = make(root / "1.seg")
    segment.write(frame(b"the last"))
    write = segment.write
    segment.retire()
    with pytest.raises(ValueError):
        write(frame(b"too late"))
    assert walk(segment.view(), HEADER.size, segment.tell(), 1 << 30)[1] == 1


def test_a_segment_is_allocated_in_full_before_it_is_written(root: Path) -> None:
    segment = MappedSegment(root / "1.seg", 1 << 20)
    found = (root / "1.seg").stat()
    assert found.st_size == 1 << 20
    assert found.st_blocks * 512 >= 1 << 20
    assert found.st_mode & 0o077 == 0
    segment.close()
    assert not (root / "1.seg").exists()


def populate_all(mapping: mmap.mmap) -> None:
    pages.populate(mapping, 0, len(mapping))


def test_populating_and_letting_go_change_no_byte(root: Path) -> None:
    segment = MappedSegment(root / "1.seg", 1 << 20)
    segment.write(frame(b"an event"))
    before = bytes(segment.view()[:])
    for step in (populate_all, pages.let_go, populate_all):
        step(segment.mapping)
        assert bytes(segment.view()[:]) == before == (root / "1.seg").read_bytes()


@pytest.mark.parametrize("step", [populate_all, pages.let_go])
def test_on_a_kernel_that_has_no_such_advice_nothing_is_changed(
    step: Callable[[mmap.mmap], None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = MappedSegment(root / "1.seg", 1 << 20)
    segment.write(frame(b"an event"))
    before = bytes(segment.view()[:])
    for madvise in (None, lambda *_: -1):
        monkeypatch.setattr(pages, "_madvise", madvise)
        step(segment.mapping)
        assert bytes(segment.view()[:]) == before


def test_a_mapping_that_was_closed_meanwhile_is_passed_over(root: Path) -> None:
    segment = MappedSegment(root / "1.seg", 1 << 20)
    segment.close()
    pages.populate(segment.mapping, 0, 1 << 20)


@given(data=st.binary(max_size=60), position=st.integers(0, 70))
def test_rubbish_has_no_record_that_reaches_beyond_it(data: bytes, position: int) -> None:
    length, _ = head_at(data, position)
    assert length == 0 or position + 10 + length <= len(data)
