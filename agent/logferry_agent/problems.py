"""What a part holds back now: each failure is said when it begins, shown while it lasts, and over once it works."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from logferry_agent.fs import Problem


class Problems:
    """Failures by the path that each is about; `clock` is the wall clock in nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._held: dict[Path, Problem] = {}

    def hold(self, path: Path, what: str, error: str, file: Path | None = None) -> bool:
        """Note that something at `path`, `file` in it, fails; say whether that is news."""
        known = self._held.get(path)
        since_ns = known.since_ns if known else self._clock()
        self._held[path] = Problem(what, str(file or path), error, since_ns)
        return known is None or known.error != error

    def release(self, path: Path) -> bool:
        """Note that it works; say whether it did not before."""
        return self._held.pop(path, None) is not None

    def keep(self, paths: Collection[Path], what: str) -> None:
        """Forget those of a kind that are not about one of `paths`."""
        self._held = {path: one for path, one in self._held.items() if one.what != what or path in paths}

    def paths(self) -> list[Path]:
        return list(self._held)

    def values(self) -> list[Problem]:
        return list(self._held.values())
