"""Which files below the watched directories changed: the scan is the truth, notifications only make it sooner.

A scan compares each file's stamp with the one that was committed last; a file is offered again and again until `done`
says that its change is in the store. What the scan costs for thousands of files that stay as they are:

* A directory whose own time did not change is not listed again; its files are still asked for their stamps.
* Files untouched for `_QUIET_NS` are asked only by a full scan, each `_FULL_EVERY`-th: on network file systems each
  question is a round trip. A notification, or a change of the directory (which replacing by rename is), finds them at
  once.

Stamps have a granularity: a file that is written twice within it looks unchanged after the second time, so one that
was written just before it was read is offered once more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from logferry_collector.formats import format_of
from logferry_collector.records import UNASKABLE, Found, Stamp
from logferry_collector.tail import not_regular

_SECOND_NS = 1_000_000_000
_QUIET_NS = 86_400 * _SECOND_NS
_FULL_EVERY = 30
# Kernels stamp with their tick (at most 10 ms); file systems that keep whole seconds show it by their zeros.
_TICK_NS = 20_000_000
_MAX_DEPTH = 32


@dataclass
class _Directory:
    """A directory as it was when it was listed."""

    mtime_ns: int
    listed_ns: int
    names: list[str] = field(default_factory=list)  # of files that some format reads, and links
    below: list[str] = field(default_factory=list)

    def holds(self, mtime_ns: int) -> bool:
        """Say whether the listing is still right; one made right after a change may have missed another."""
        return mtime_ns == self.mtime_ns and self.listed_ns - mtime_ns > 2 * _SECOND_NS


class _Wait(NamedTuple):
    """When a file is to be offered again, and when that was decided."""

    since_ns: int
    until_ns: int

    def is_over(self, now_ns: int) -> bool:
        """Say whether its time has come; a clock that was set back behind the beginning would never say so."""
        return not self.since_ns <= now_ns < self.until_ns


class Discover:
    """Finds changed files below some directories.

    Args:
        roots: the directories; names below that begin with a dot are temporary and ignored, links never followed.
        known: stamps of the files that are in the store.
        clock_ns: the time of day, comparable to files' times.

    """

    def __init__(self, roots: list[str], known: dict[str, Stamp], clock_ns: Callable[[], int]) -> None:
        self._roots = roots
        self._known = known
        self._clock_ns = clock_ns
        self._directories: dict[str, _Directory] = {}
        self._again: dict[str, _Wait] = {}
        self._scans = 0

    def scan(self, *, full: bool = False) -> list[Found]:
        """Return every file that changed, as far as stamps tell; `full` asks quiet files too."""
        full = full or self._scans % _FULL_EVERY == 0
        self._scans += 1
        return [one for root in self._roots for one in self._walk(root, root, 0, full=full)]

    def look(self, paths: set[str]) -> list[Found]:
        """Return those of some paths that changed; a directory stands for all below it."""
        found: list[Found] = []
        for path in sorted(paths):
            base = self._base(path)
            inside = os.path.relpath(path, base or path).split(os.sep)
            if not base or any(part.startswith(".") and part != os.curdir for part in inside):
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                found += self._walk(path, base, len(inside), full=True)
            elif format_of(path):
                one = self._file(path, base, self._clock_ns())
                found += [one] if one is not None else []
        return found

    def done(self, path: str, stamp: Stamp) -> None:
        """Remember that the store has this state of a file."""
        self._known[path] = stamp
        grain_ns = _SECOND_NS if stamp.mtime_ns % _SECOND_NS == 0 else _TICK_NS
        written_ns = max(stamp.mtime_ns, stamp.ctime_ns)
        now_ns = self._clock_ns()
        if 0 <= now_ns - written_ns <= grain_ns:
            self._again[path] = _Wait(now_ns, written_ns + grain_ns + 1)
        else:
            self._again.pop(path, None)

    def forget(self, paths: Iterable[str]) -> None:
        """Offer some files as new ones when they are there again."""
        for path in paths:
            self._known.pop(path, None)

    def lists(self, path: str) -> bool:
        """Say whether a path is a directory that could be listed."""
        return path in self._directories

    def wait(self, path: str, until_ns: int) -> None:
        """Offer a file that is not whole again at a time, or when it changes."""
        self._again[path] = _Wait(self._clock_ns(), until_ns)

    def due(self) -> list[str]:
        """Return the files whose time to be offered again has come."""
        now_ns = self._clock_ns()
        return [path for path, wait in self._again.items() if wait.is_over(now_ns)]

    def next_due_ns(self) -> int | None:
        """Return when the next file is to be offered again."""
        return min((wait.until_ns for wait in self._again.values()), default=None)

    @property
    def waiting(self) -> int:
        """How many files are not in the store as they are now, or may not be."""
        return len(self._again)

    def _base(self, path: str) -> str:
        return next((root for root in self._roots if path == root or path.startswith(root.rstrip("/") + "/")), "")

    def _walk(self, path: str, base: str, depth: int, *, full: bool) -> Iterator[Found]:
        known = self._directories.pop(path, None)
        try:
            if depth > _MAX_DEPTH:
                yield from self._unlisted(path, base, f"lies more than {_MAX_DEPTH} directories deep")
                return
            here = self._directories[path] = self._listed(path, known)
        except FileNotFoundError:
            return
        except OSError as error:
            yield from self._unlisted(path, base, f"cannot be listed: {error.strerror}")
            return
        now_ns = self._clock_ns()
        for name in here.names:
            one = self._file(f"{path}/{name}", base, now_ns, full=full or here is not known)
            if one is not None:
                yield one
        for name in here.below:
            yield from self._walk(f"{path}/{name}", base, depth + 1, full=full)

    def _unlisted(self, path: str, base: str, problem: str) -> Iterator[Found]:
        with suppress(FileNotFoundError):
            if self._known.get(path) != Stamp.at(path):
                yield Found(path, base, problem)

    def _listed(self, path: str, known: _Directory | None) -> _Directory:
        mtime_ns = os.stat(path).st_mtime_ns
        if known is not None and known.holds(mtime_ns):
            return known
        listed = _Directory(mtime_ns, self._clock_ns())
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    listed.below.append(entry.name)
                elif format_of(entry.name) or (entry.is_symlink() and entry.is_dir()):
                    listed.names.append(entry.name)  # of a link too: somebody waits for what is behind it
        return listed

    def _file(self, path: str, base: str, now_ns: int, *, full: bool = True) -> Found | None:
        known, wait = self._known.get(path), self._again.get(path)
        if known is not None and not full and wait is None and now_ns - known.mtime_ns > _QUIET_NS:
            return None
        try:
            found = os.lstat(path)
        except OSError as error:
            self._again.pop(path, None)
            silent = isinstance(error, FileNotFoundError) or known == UNASKABLE
            return None if silent else Found(path, base, f"cannot be asked about: {error.strerror}")
        if Stamp.of(found) == known and (wait is None or not wait.is_over(now_ns)):
            return None
        problem = "" if stat.S_ISREG(found.st_mode) else not_regular(found.st_mode)
        return Found(path, base, problem, inode=Stamp.of(found).inode)
