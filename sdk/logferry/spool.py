"""A producer's spool on disk: its directory, its lock, its head. How it is read once it is left: leftovers.py.

Layout of `NODE/spool/<producer>/` (version 1)::

    lock             POSIX record lock (fcntl.lockf), held by the producer as long as it lives; empty
    hello            "LFHL" | version u32 | crc32 u32 | msgpack map: what is constant for the producer
    head             "LFHD" | version u32 | acked_through u64 | outrun u64 | shed u64 × 5 (DEBUG … CRITICAL) | zeros;
                     one mapped page, so that the counts survive the process
    <8 digits>.seg   segments in order, see segment.py

Invariants:

* The directory appears whole: it is made as `.new-<producer>`, its lock taken, its hello written, then renamed. It
  goes as a whole too: it is renamed to `.gone-<producer>` before its files are unlinked.
* No other process reads a spool whose lock is held. Whoever gets the lock adopts the spool; only the agent deletes.
* The lock is not inherited by fork and falls free with the process. Closing any descriptor of the file in the
  process that holds it drops it, so the owner opens it exactly once, and an agent and a producer never share a process.
* `acked_through` never passes what the agent said is durable. `outrun` counts the calls that had to prepare a segment
  themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from logferry.events import LEVELS
from logferry.killpoints import passed
from logferry.layout import read_plain
from logferry.segment import HEADER, MAGIC, VERSION, header

HELLO_MAGIC, HEAD_MAGIC = b"LFHL", b"LFHD"
_HELLO = struct.Struct(">4sII")
_HEAD = struct.Struct(">4sIQQ5Q")
HEAD_BYTES = 4096
FIRST_SEGMENT = "00000001"
_MAX_HELLO_BYTES = 64 << 10
# struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi4x")


class SpoolDamage(NamedTuple):
    """A file of a spool does not follow the format: `reason` is "version", "checksum" or "missing"."""

    reason: str
    path: Path
    detail: str


class Head(NamedTuple):
    """What the mapped page of a spool says."""

    acked_through: int
    outrun: int
    shed: dict[int, int]  # level → events refused because the spool was full


def create(spool_root: Path, producer: str, about: dict[str, Any]) -> tuple[Path, int]:
    """Make a producer's directory; return its path and the descriptor that holds its lock.

    Raises:
        OSError: it cannot be made or locked.

    """
    spool_root.mkdir(mode=0o700, exist_ok=True)
    new = spool_root / f".new-{producer}"
    new.mkdir(mode=0o700)
    passed("spool.made")
    lock = os.open(new / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        passed("spool.locked")
        packed = msgpack.packb(about)
        (new / "hello").write_bytes(_HELLO.pack(HELLO_MAGIC, VERSION, zlib.crc32(packed)) + packed)
        passed("spool.greeted")
        final = spool_root / producer
        new.rename(final)
        passed("spool.named")
    except BaseException:
        os.close(lock)
        raise
    return final, lock


class HeadPage:
    """The producer's mapped page `head`; anonymous memory where `directory` is None."""

    def __init__(self, directory: Path | None) -> None:
        self._shed = dict.fromkeys(LEVELS, 0)
        self.outrun = 0
        self.acked_through = 0
        if directory is None:
            self._map = mmap.mmap(-1, HEAD_BYTES)
        else:
            fd = os.open(directory / "head", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, bytes(HEAD_BYTES), 0)
                self._map = mmap.mmap(fd, HEAD_BYTES)
            finally:
                os.close(fd)
        self.save()
        passed("head.made")

    def shed(self, level: int) -> None:
        """Count one refused event."""
        self._shed[max([LEVELS[0], *(known for known in LEVELS if known <= level)])] += 1
        self.save()

    def shed_counts(self) -> dict[int, int]:
        return {level: count for level, count in self._shed.items() if count}

    def save(self) -> None:
        packed = _HEAD.pack(HEAD_MAGIC, VERSION, self.acked_through, self.outrun, *self._shed.values())
        self._map[: _HEAD.size] = packed

    def close(self) -> None:
        self._map.close()


def read_head(directory: Path) -> Head:
    """Read the page `head`; zeros where it is missing or damaged, because its counts only inform.

    Raises:
        OSError: it cannot be read now.

    """
    try:
        magic, version, acked, outrun, *shed = _HEAD.unpack_from(read_plain(directory / "head", HEAD_BYTES))
    except (FileNotFoundError, struct.error):
        return Head(0, 0, {})
    if magic != HEAD_MAGIC or version != VERSION:
        return Head(0, 0, {})
    return Head(acked, outrun, {level: count for level, count in zip(LEVELS, shed, strict=True) if count})


def read_about(directory: Path) -> dict[str, Any] | SpoolDamage:
    """Read the file `hello`: what is constant for the producer.

    Raises:
        OSError: it cannot be read now.

    """
    path = directory / "hello"
    try:
        data = read_plain(path, _MAX_HELLO_BYTES)
        magic, version, crc32 = _HELLO.unpack_from(data)
    except (FileNotFoundError, struct.error) as error:
        return SpoolDamage("missing", path, str(error))
    if magic == HELLO_MAGIC and version > VERSION:
        return SpoolDamage("version", path, f"version {version}; this one knows {VERSION}")
    packed = data[_HELLO.size :]
    if (magic, version) != (HELLO_MAGIC, VERSION) or zlib.crc32(packed) != crc32:
        return SpoolDamage("checksum", path, "its checksum does not hold")
    try:
        about = msgpack.unpackb(packed)
    except ValueError as error:  # whoever wrote it computed a checksum of what is no msgpack
        return SpoolDamage("checksum", path, f"not msgpack: {error}")
    return about if isinstance(about, dict) else SpoolDamage("checksum", path, "it holds no map")


def later_version(directory: Path) -> SpoolDamage | None:
    """Return the first file of a spool that a later logferry wrote, None where there is none.

    Raises:
        OSError: that cannot be known now.

    """
    about = read_about(directory)
    if isinstance(about, SpoolDamage) and about.reason == "version":
        return about
    for path in sorted(directory.glob("[0-9]*.seg")):
        data = read_plain(path, HEADER.size).ljust(HEADER.size, b"\0")
        magic, version, first = HEADER.unpack(data)
        # Where the checksum holds for the present version, a bit of the version was changed: that is damage.
        if magic == MAGIC and version > VERSION and header(first) != MAGIC + VERSION.to_bytes(4) + data[8:]:
            return SpoolDamage("version", path, f"version {version}; this one knows {VERSION}")
    return None


def take_lock(directory: Path) -> int | None:
    """Return a descriptor that holds the spool's lock, or None while its producer lives.

    Raises:
        OSError: there is no lock file, or it cannot be opened.

    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise
        return None
    return fd


def lock_holder(path: Path) -> int | None:
    """Return the pid of the process that holds the record lock of the file `path`, without taking it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _holder(fd)
    finally:
        os.close(fd)


def _holder(fd: int) -> int | None:
    if sys.platform != "linux":  # other layouts of struct flock: ask by trying
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 0
        return None
    found = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, _, _, pid = _FLOCK.unpack(found)
    return None if kind == fcntl.F_UNLCK else int(pid)


def remove(directory: Path) -> None:
    """Delete an adopted spool, its directory entry made durable. Under a name with a dot: half of it is no spool.

    Raises:
        OSError: it is not known to be gone; doing it again finishes it.

    """
    gone = directory.with_name(f".gone-{directory.name}")
    with contextlib.suppress(FileNotFoundError):
        directory.rename(gone)
    passed("remove.hidden")
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(gone):
            with contextlib.suppress(FileNotFoundError):
                (gone / name).unlink()
            passed("remove.begun")
        gone.rmdir()
    passed("remove.emptied")
    fd = os.open(gone.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    passed("remove.done")
