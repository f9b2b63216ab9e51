"""Compressed files give what was packed, a bounded piece at a time; a cut or damaged one is never taken for whole."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from logferry_agent.compression import compress
from logferry_agent.content import UNREADABLE, blocks
from logferry_agent.fs import FileSystem
from logferry_agent.packed import unpacked

# What zstd packs as blocks of each type: repeated, compressed, raw; and more than one block of it.
CONTENTS = [b"", b"x", b"\0" * 300_000, b"a line\n" * 40_000, random.Random(1).randbytes(200_000)]
SKIPPED = (0x184D2A5E).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"


def read(data: bytes, packing: str = ".zst", size: int = 65_536) -> bytes:
    return b"".join(unpacked(io.BytesIO(data), packing, size))


def packed(content: bytes, *, checksum: bool = True) -> bytes:
    maker = zstandard.ZstdCompressor(write_checksum=checksum).compressobj()
    return maker.compress(content) + maker.flush()


def cuts(data: bytes) -> Iterator[int]:
    """Where to cut: near all ends, and anywhere."""
    random_ = random.Random(2)
    near = {*range(1, 40), *range(len(data) - 40, len(data)), *(random_.randrange(1, len(data)) for _ in range(20))}
    yield from sorted(at for at in near if 0 < at < len(data))


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("checksum", [True, False])
def test_a_file_that_was_cut_anywhere_is_not_whole(content: bytes, checksum: bool) -> None:
    data = packed(content, checksum=checksum)
    assert read(data) == content
    for at in cuts(data):
        with pytest.raises(UNREADABLE):
            read(data[:at])


def test_several_frames_and_what_is_to_be_skipped_are_one_file() -> None:
    frames = [packed(content, checksum=bool(n % 2)) for n, content in enumerate(CONTENTS)]
    one_shot = zstandard.ZstdCompressor().compress(b"with its size")
    data = b"".join([SKIPPED, *frames, one_shot, SKIPPED])
    assert read(data) == b"".join(CONTENTS) + b"with its size"
    for end in (len(data) - 1, len(data) - 12, len(data) - len(SKIPPED) - 1, 3, 9):
        with pytest.raises(UNREADABLE):
            read(data[:end])


@given(st.data())
def test_headers_are_found_wherever_reading_divides_them(data: st.DataObject) -> None:
    packed_twice = 2 * packed(random.Random(3).randbytes(300))
    end = data.draw(st.sampled_from([len(packed_twice), len(packed_twice) // 2, len(packed_twice) - 1]))

    class Bits(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, data.draw(st.integers(1, 20))))

    try:
        list(unpacked(Bits(packed_twice[:end]), ".zst", 1_000))
        assert end != len(packed_twice) - 1
    except EOFError:
        assert end == len(packed_twice) - 1


@pytest.mark.parametrize("packing", [".zst", ".gz"])
def test_what_follows_that_is_no_frame_and_a_changed_byte_are_damage(packing: str) -> None:
    content = b"a line\n" * 40_000
    data = packed(content) if packing == ".zst" else gzip.compress(content)
    assert read(data, packing) == content
    for bad in (data + b"rubbish that is long enough", data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]):
        with pytest.raises(UNREADABLE):
            read(bad, packing)


def test_a_step_gives_no_more_than_was_asked_for_whatever_was_packed() -> None:
    """A few hundred bytes become many megabytes."""
    for packing, data in ((".zst", packed(b"\0" * (64 << 20))), (".gz", gzip.compress(b"\0" * (4 << 20)))):
        pieces = unpacked(io.BytesIO(data), packing, 50_000)
        assert max(len(piece) for piece in pieces) <= 50_000


def test_what_comes_before_the_damage_is_given(tmp_path: Path) -> None:
    path = tmp_path / "node7.20250730T130000Z-1.jsonl"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(200_000)))
    done = compress(FileSystem(), path, "zstd")
    done.write_bytes(done.read_bytes()[:-30_000])
    found: list[bytes] = []
    with pytest.raises(EOFError):
        found.extend(blocks(done))
    assert b"".join(found).startswith(b"line 0\nline 1\n")
    assert b"".join(found).count(b"\n") > 50_000
