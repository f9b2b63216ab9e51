"""From changed files to rows in the store: reads each, judges what it holds, and commits rows with their cursor.

Promises:

* The rows of a file and its cursor are one transaction. Whoever is killed in between has changed nothing, and the next
  one reads the file again from the cursor that is in the store.
* A file that does not parse waits until nobody has written to it for the settle time; then it is a reject, and is read
  again when it changes. The rows that it had stay until then.
* One file's trouble is that file's: the others of its batch go on.
* What the machine lacks is no fault of a file's: it is tried again, and stands among the rejects until it was read.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from logferry_collector.account import Account
from logferry_collector.beside import Beside
from logferry_collector.discover import Discover
from logferry_collector.formats import Content, Format, Packed, Reading, format_of
from logferry_collector.formats.content import HEAD_BYTES
from logferry_collector.identity import NoResultError, record_of
from logferry_collector.records import UNASKABLE, Fault, FileState, Found, Intake, Parsed, Record, Reject, Role, Stamp
from logferry_collector.rotated import original_of, stands
from logferry_collector.store import Store
from logferry_collector.tail import (
    LACKING,
    Slice,
    UnreadableError,
    beginning,
    digest,
    line_end,
    marker,
    opened,
    read_on,
    was_renamed,
)

# Documents of one transaction are in memory together.
_BATCH_BYTES = 8 << 20
# A packed copy beside its original is asked about again after this; packing takes minutes at most.
_COPY_NS = 60_000_000_000
_LACKING_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class _Step:
    """What one look at a file comes to: what to commit, if anything, and when to look again."""

    found: Found
    stamp: Stamp
    intake: Intake | None = None
    more: bool = False
    wait_until_ns: int | None = None
    size: int = 0


class Consolidator:
    """Takes changed files into a store.

    Args:
        store: where to.
        discover: is told what is in, and what to offer again.
        settle_s: after this time without a change a file is no longer being written.
        batch_files: at most so many files in one transaction.
        clock_ns: the time of day, comparable to files' times.
        reading: what the configuration says of formats.

    """

    def __init__(
        self,
        store: Store,
        discover: Discover,
        *,
        settle_s: float,
        batch_files: int,
        clock_ns: Callable[[], int],
        reading: Reading,
    ) -> None:
        self._store = store
        self._discover = discover
        self._settle_ns = int(settle_s * 1e9)
        self._batch_files = batch_files
        self._clock_ns = clock_ns
        self._reading = reading
        self.account = Account()  # of what was committed so far
        self._new_inodes: set[int] = set()
        self._beside = Beside()

    def take(self, found: Sequence[Found], stop: Callable[[], bool] = lambda: False) -> int:
        """Take in some files; return how many changes were committed.

        Raises:
            StoreDownError: the store could not be written; what was not committed will be offered again.

        """
        # Notifications may name a directory and a file in it; of two intakes of one file one is always lost.
        waiting = list({one.path: one for one in reversed(found)}.values())
        committed = 0
        while waiting and not stop():
            # Documents hold no cycles: looking for some in a full batch of them took a fifth of all time.
            with _gc_paused():
                committed += self._take_some(waiting)
        return committed

    def _take_some(self, waiting: list[Found]) -> int:
        """Take in as many files as one transaction takes, from the end of `waiting`, and put some back."""
        steps = self._look(waiting)
        due = [(step, step.intake) for step in steps if step.intake is not None]
        void = self._void([intake for _, intake in due])
        held = self._store.commit([*(intake for _, intake in due), *void])[: len(due)] if due else []
        self._discover.forget(intake.state.path for intake in void)
        for (_, intake), was_held in zip(due, held, strict=True):
            self.account.add(intake.records if was_held else [], intake.state.path)
        lost = {step.found.path for (step, _), was_held in zip(due, held, strict=True) if not was_held}
        for step in steps:
            if step.more or step.found.path in lost:  # lost: another collector was first; see what it left
                waiting.append(step.found)
            elif step.wait_until_ns is not None:
                self._discover.wait(step.found.path, step.wait_until_ns)
            else:
                self._discover.done(step.found.path, step.stamp)
        return sum(held)

    def forget_void_rejects(self) -> None:
        """Drop the rejects of files that are gone and of directories that can be listed: nothing is left to mend."""
        void = {name for name, _ in self._store.rejects() if not exists(name) or self._discover.lists(name)}
        if void:
            self._store.drop_rejects(sorted(void))
            self._discover.forget(void)

    def _void(self, intakes: list[Intake]) -> list[Intake]:
        """Return what takes away the parts and edits of an earlier run that went for good, beside a new one of its id.

        A file that is gone keeps its rows, and so does the mark that hid a run which `prune` deleted.
        """
        runs = {
            (one.experiment_id, one.run_id): os.path.dirname(intake.state.path)
            for intake in intakes
            for one in intake.records
            if one.role is Role.RESULT and os.path.basename(intake.state.path) == f"{one.run_id}.json"
        }
        beside = self._store.beside_hidden(list(runs)) if runs else []
        homes = set(runs.values())
        return [
            # A stamp that no file has, so that one which comes back is read.
            Intake(replace(state, version=state.version + 1, stamp=UNASKABLE), [], [], -1)
            for state in beside
            if os.path.dirname(state.path) in homes and not exists(state.path)
        ]

    def _look(self, waiting: list[Found]) -> list[_Step]:
        """Look at as many files as one transaction takes, from the end of `waiting`."""
        batch = waiting[-self._batch_files :]
        self._beside = Beside()
        states = self._store.files([_name(found.path) for found in batch])
        # One question for all of them: almost no new file is an old one with another name.
        asked = {found.inode for found in batch if _name(found.path) not in states}
        self._new_inodes = asked - self._store.inodes(sorted(asked)) if asked else asked
        steps: list[_Step] = []
        size = 0
        while waiting and len(steps) < self._batch_files and size < _BATCH_BYTES:
            found = waiting.pop()
            try:
                steps.append(self._step(found, states.get(_name(found.path))))
            except FileNotFoundError:  # gone since it was found; its rows stay
                continue
            size += steps[-1].size
        return steps

    def _step(self, found: Found, state: FileState | None) -> _Step:
        form = format_of(found.path)
        problem = found.problem if form else found.problem or "is of no known format"
        if problem or form is None:
            return self._refused(found, state, Reject(0, Fault.UNREADABLE, problem))
        missing = form.missing(self._reading)
        if missing:
            return self._refused(found, state, Reject(0, Fault.UNAVAILABLE, missing))
        try:
            with opened(found.path) as fd:
                part = read_on(fd, form, state)
                too_large = _too_large(part, form)
                behind = line_end(fd, part.start + len(part.data)) if too_large and form.grows else None
                if too_large and behind is None:
                    return self._refused(found, state, Reject(0, Fault.TOO_LARGE, too_large))
                if isinstance(form, Packed) and form.inner.grows and state is None:
                    return self._unpacked(found, form, part, fd)
                return self._read(found, form, state, part, fd, behind)
        except UnreadableError as error:
            return self._refused(found, state, Reject(0, Fault.UNREADABLE, str(error)))
        except FileNotFoundError:
            raise
        except (MemoryError, OSError) as error:  # OSError: a failing disk, a stale handle of a network file system
            reason = getattr(error, "strerror", None) or "no memory is left"
            if isinstance(error, OSError) and error.errno not in LACKING:
                return self._refused(found, state, Reject(0, Fault.UNREADABLE, f"cannot be read: {reason}"))
            reject = Reject(0, Fault.UNAVAILABLE, f"cannot be read now: {reason}; it is tried again")
            return self._refused(found, state, reject, until_ns=self._clock_ns() + _LACKING_NS)

    def _unpacked(self, found: Found, form: Packed, part: Slice, fd: int) -> _Step:
        """Take a packed file that is new: it may have rows that are in the store under another name."""
        original = original_of(self._store, _name(found.path), form, part.data)
        if original and stands(original):
            return _Step(found, part.stamp, wait_until_ns=self._clock_ns() + _COPY_NS)
        step = self._read(found, form, None, part, fd, None)
        gone = original is not None and not os.path.lexists(original.path)
        if original and gone and step.intake and not step.intake.renamed_from:
            step = replace(step, intake=replace(step.intake, renamed_from=original.path))
        return step

    def _read(
        self, found: Found, form: Format, state: FileState | None, part: Slice, fd: int, behind: int | None
    ) -> _Step:
        """Take what was read, or of a line too long, of which that is the beginning, that it ends at `behind`."""
        age_ns = self._clock_ns() - max(part.stamp.mtime_ns, part.stamp.ctime_ns)
        # A time far in the future is that of another clock, which says nothing.
        settled = age_ns >= self._settle_ns or age_ns < -self._settle_ns
        if behind is None:
            head = beginning(fd, HEAD_BYTES) if form.grows and part.start else b""
            parsed = _parsed(form, Content(part.data, part.lines, settled and part.at_end, head, self._reading))
        else:
            parsed = Parsed(
                [],
                behind - part.start,
                1,
                [Reject(part.lines + 1, Fault.TOO_LARGE, _too_large(part, form))],
                rows=True,
            )
        more = bool(parsed.taken) and not part.at_end
        waits = bool(parsed.unfinished) and not more and not settled
        mark = marker(fd, part.start + parsed.taken) if form.grows else digest(part.data[: parsed.taken])
        new = self._state(found, state, part, parsed, mark)
        if more or waits:  # who looks next must see that there is more to the file than its cursor
            new = replace(new, stamp=part.stamp._replace(size=new.offset))
        until_ns = self._clock_ns() + self._settle_ns - max(age_ns, 0) if waits else None
        intake = None
        if not (waits and not parsed.taken) and not (state and _nothing_new(new, state, part, form)):
            intake = self._judged(found, form, new, part, parsed, settled=not waits and not more)
            if not part.anew or state is None or state.stamp[:2] != part.stamp[:2]:
                old_name = self._old_name(new, part, fd, form)
                intake = replace(intake, renamed_from=old_name) if old_name else intake
        return _Step(found, part.stamp, intake, more, until_ns, len(part.data))

    def _state(self, found: Found, state: FileState | None, part: Slice, parsed: Parsed, mark: bytes) -> FileState:
        version = (state.version if state else 0) + 1
        offset, lines = part.start + parsed.taken, part.lines + parsed.lines
        return FileState(_name(found.path), version, part.stamp, offset, mark, lines)

    def _judged(
        self, found: Found, form: Format, new: FileState, part: Slice, parsed: Parsed, *, settled: bool
    ) -> Intake:
        """Sort what was parsed into rows and rejects."""
        records: list[Record] = []
        rejects = list(parsed.rejects)
        for ordinal, document in parsed.documents:
            line = ordinal if parsed.rows else 0
            try:
                record = record_of(document, found, ordinal, row=parsed.rows)
                if record.role is Role.RESULT and not parsed.rows:
                    self._beside.complete(record.document, found.path)
                records.append(record)
            except NoResultError as error:
                rejects.append(Reject(line, Fault.INVALID, str(error)))
        if parsed.unfinished and settled:
            line = new.lines + 1 if form.grows else 0
            rejects.append(Reject(line, Fault.INCOMPLETE, parsed.unfinished))
        # A document that went bad is mended sooner or later: what it said before stands until then.
        keeps = not form.grows and not records and bool(rejects)
        return Intake(new, records, rejects, None if keeps else part.lines)

    def _old_name(self, new: FileState, part: Slice, fd: int, form: Format) -> str:
        """Return the name that a file had before it was renamed, or the empty string."""
        if part.stamp.inode in self._new_inodes:
            return ""
        for other in self._store.files_of_inode(part.stamp):
            gone = other.path != new.path and not os.path.lexists(other.path)
            if gone and was_renamed(fd, part, other, form):
                return other.path
        return ""

    def _refused(self, found: Found, state: FileState | None, reject: Reject, until_ns: int | None = None) -> _Step:
        """Refuse a whole file, or until it is to be tried again; its rows stay."""
        stamp = Stamp.at(found.path)
        old = state or FileState(_name(found.path), 0, UNASKABLE)
        # No file has such a size: one that comes to say what it said before is taken in all the same.
        new = replace(old, version=old.version + 1, stamp=stamp if until_ns is None else stamp._replace(size=-1))
        return _Step(found, stamp, Intake(new, [], [reject], None), wait_until_ns=until_ns)


@contextmanager
def _gc_paused() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parsed(form: Format, content: Content) -> Parsed:
    try:
        return form.parse(content)
    except MemoryError:
        raise
    except Exception as error:  # a format that breaks its word stops its own file only
        raise UnreadableError(f"cannot be read, please report: {type(error).__name__}: {error}") from error


def _nothing_new(new: FileState, old: FileState, part: Slice, form: Format) -> bool:
    if form.grows:
        return not part.anew and not part.data
    return new.offset > 0 and (new.stamp, new.offset, new.marker) == (old.stamp, old.offset, old.marker)


def _too_large(part: Slice, form: Format) -> str:
    limit = f"{form.max_bytes >> 20} MiB"
    if not form.grows:
        return "" if part.at_end else f"{part.stamp.size} bytes; at most {limit} are read"
    if part.at_end or b"\n" in part.data:
        return ""
    return f"line {part.lines + 1} is longer than {limit}"


def _name(path: str) -> str:
    """Return a path as text that any store can keep, bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def exists(name: str) -> bool:
    """Say whether the file is there that `_name` gave this name."""
    escaped = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode())
    return _there(name) or _there(escaped)


def _there(path: str | bytes) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # nobody says; `lexists` would say no
        return True
    return True
