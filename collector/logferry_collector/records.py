"""What passes between the collector's parts: a file's state, the records read from it, and what was refused.

Plain frozen data: discover finds a `Found`, a format turns its bytes into `Parsed`, consolidate makes an `Intake` of
both, and the store commits it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple


class Stamp(NamedTuple):
    """What `stat` says of a file; as long as it stays the same, the file is not read again."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return cls(*numbers) if max(numbers) < _HALF else cls(*((one + _HALF) % (2 * _HALF) - _HALF for one in numbers))

    @classmethod
    def at(cls, path: str) -> Stamp:
        """Return the stamp of what has a name now, `UNASKABLE` where nobody says.

        Raises:
            FileNotFoundError: nothing has.

        """
        try:
            return cls.of(os.lstat(path))
        except FileNotFoundError:
            raise
        except OSError:
            return UNASKABLE


UNASKABLE = Stamp(0, 0, 0, 0, 0)
# Inode numbers of some network file systems and times after 2262 do not fit a store's integers; they are wrapped.
_HALF = 1 << 63


@dataclass(frozen=True, slots=True)
class Found:
    """A path to look at.

    `base` is the directory below which the first component names the experiment, unless `experiment` does.
    """

    path: str
    base: str
    problem: str = ""  # why it cannot be looked at; empty: a regular file
    experiment: str = ""
    inode: int = -1  # as it was when it was found, if that is known


class Fault(StrEnum):
    """Why something stands among the rejects."""

    INCOMPLETE = "incomplete"  # does not parse, and nobody has written to it for the settle time
    INVALID = "invalid"  # parses, and is no result
    UNREADABLE = "unreadable"  # a link, a FIFO, no permission
    TOO_LARGE = "too large"
    DUPLICATE = "duplicate"  # the same run twice in one file
    UNAVAILABLE = "unavailable"  # a package, a permission or memory is missing to read it


@dataclass(frozen=True, slots=True)
class Reject:
    """What was refused: a whole file (line 0) or one line of it."""

    line: int
    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a format made of some bytes.

    `taken` bytes and `lines` lines are done with. What lies beyond does not parse yet: `unfinished` says why, and is
    empty where nothing lies beyond. `rows`: the documents are rows, each of which is refused by itself.
    """

    documents: list[tuple[int, Any]]  # ordinal from 1, document
    taken: int
    lines: int
    rejects: list[Reject] = field(default_factory=list)
    unfinished: str = ""
    rows: bool = False

    def waiting_for(self, unfinished: str) -> Parsed:
        return replace(self, unfinished=unfinished)


class Role(IntEnum):
    """What a document is to its run. The store keeps the numbers."""

    RESULT = 0
    PART = 1  # of a process that does not own the result: its metrics go to the result
    EDIT = 2  # of somebody afterwards: tags, notes, the trash (sdk/logferry/edits.py)


@dataclass(frozen=True, slots=True)
class Record:
    """One row that a file holds. The document has both ids."""

    ordinal: int
    experiment_id: str
    run_id: str
    role: int  # a Role
    revision: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileState:
    """What the store knows of a file: its stamp, and the cursor up to which its rows are in.

    `version` counts the intakes of the file: an intake commits only on top of the version that it was made from, so
    that of two collectors at once one wins and the other looks again.
    """

    path: str
    version: int
    stamp: Stamp
    offset: int = 0
    marker: bytes = b""  # hash of the bytes before the offset, see tail.py
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Intake:
    """One file's change, committed as a whole: rows, rejects and cursor."""

    state: FileState
    records: list[Record]
    rejects: list[Reject]
    rows_after: int | None  # rows and rejects with a greater ordinal than this are replaced; None: rows stay
    renamed_from: str = ""  # a file of that name is this one now; its rows go with the name
