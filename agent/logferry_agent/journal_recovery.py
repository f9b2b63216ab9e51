"""What is valid in a journal directory after the agent ended in any way.

The newest segment whose header holds says where all earlier ones end and what they say of each producer; only what
lies behind it is read. Its torn end is cut by not counting it; damage in the middle is passed over and reported.

What was written but not known durable is written again at its place before it counts, a header that no record follows
too: after a sync that failed the kernel may show bytes that are not on the disk, and a mere second sync would call them
safe.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from logferry.killpoints import passed
from logferry_agent.fs import FileSystem, write_all
from logferry_agent.later import LaterVersionError
from logferry_agent.ledger import Ledger
from logferry_agent.segment import VERSION, Damage, Header, Record, later_version, offset_of, read_header, read_records

_NAME = re.compile(r"([0-9a-f]{16})\.jnl")
_CHUNK = 4 << 20


@dataclass(slots=True)
class Segment:
    """A file of the journal as far as it is valid; `missing` where only a later header knows of it."""

    id: int
    end: int
    size: int
    missing: bool = False


@dataclass(slots=True)
class Recovered:
    """What recovery found: `base` is the id of the newest segment with a header that holds, 0 without one."""

    ledger: Ledger
    segments: list[Segment]
    base: int = 0
    next_id: int = 1
    cut_bytes: int = 0
    damage: list[Damage] = field(default_factory=list)


def segment_path(directory: Path, segment: int) -> Path:
    return directory / f"{segment:016x}.jnl"


def recover(fs: FileSystem, directory: Path) -> Recovered:
    """Find what is valid, make it durable, and return it.

    Raises:
        LaterVersionError: a later logferry wrote here.
        OSError: a segment cannot be read, or not be made durable.

    """
    sizes = _sizes(fs, directory)
    base, header, ledger = _newest_header(fs, directory, sorted(sizes, reverse=True))
    passed("recovery.begun")
    ends = header.ends if header else {}
    found = Recovered(ledger, [], base, max(sizes, default=0) + 1)
    for segment in sorted(sizes.keys() | {known for known in ends if known > min(sizes)}):
        size = sizes.get(segment, 0)
        if segment >= base and segment in sizes:
            end = _scan(fs, directory, segment, header.end if header and segment == base else 0, size, found)
        else:
            # a file that the newest header does not know was never trusted
            end = min(ends.get(segment, 0), size) if segment in sizes else ends[segment]
        found.segments.append(Segment(segment, end, size, segment not in sizes))
    if sizes:
        fs.sync_directory(directory)
    passed("recovery.done")
    return found


def _sizes(fs: FileSystem, directory: Path) -> dict[int, int]:
    names = (match for match in map(_NAME.fullmatch, fs.listdir(directory)) if match)
    return {int(match[1], 16): fs.lstat(directory / match[0]).st_size for match in names}


def _newest_header(fs: FileSystem, directory: Path, newest_first: list[int]) -> tuple[int, Header | None, Ledger]:
    for segment in newest_first:
        with opened(fs, segment_path(directory, segment)) as fd:
            read = partial(fs.pread, fd)
            header = read_header(read, segment)
            later = 0 if header else later_version(read, segment)
        if later:
            raise LaterVersionError(segment_path(directory, segment), later, VERSION)
        if header:
            with contextlib.suppress(ValueError):  # its checksum holds, and nobody can use it: the one before counts
                return segment, header, Ledger.load(header.ledger)
    return 0, None, Ledger()


@contextlib.contextmanager
def opened(fs: FileSystem, path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    fd = fs.open(path, flags)
    try:
        yield fd
    finally:
        fs.close(fd)


def _scan(fs: FileSystem, directory: Path, segment: int, start: int, size: int, found: Recovered) -> int:
    """Take in the records of one segment; return where it validly ends."""
    with opened(fs, segment_path(directory, segment)) as fd:
        offset, synced, tail = start, 0, list[Record | Damage]()
        while offset < size:
            items, offset = read_records(partial(fs.pread, fd), segment, offset, size, _CHUNK)
            tail += items
            synced = max([synced, *(item.synced for item in items if isinstance(item, Record))])
            tail = _settle(tail, synced, found)
        end = offset_of(tail[0].position) if tail else size
        found.cut_bytes += size - end
        _write_again(fs, fd, synced, end)
    return end


def _settle(tail: list[Record | Damage], synced: int, found: Recovered) -> list[Record | Damage]:
    """Take in what lies before `synced`, the damaged places too; return the rest, which may yet prove torn."""
    for index, item in enumerate(tail):
        if isinstance(item, Damage):
            if offset_of(item.end) > synced:
                return tail[index:]
            found.damage.append(item)
        else:
            found.ledger.apply(item, item.position)
    return []


def _write_again(fs: FileSystem, fd: int, start: int, end: int) -> None:
    for offset in range(start, end, _CHUNK):
        data = fs.pread(fd, min(_CHUNK, end - offset), offset)
        write_all(fs, fd, [data], offset)
    passed("recovery.rewritten")
    fs.fdatasync(fd)
