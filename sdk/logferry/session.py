"""The runs of this process: `init` opens one, `current` finds the one that code somewhere below belongs to.

One context variable holds the run of a task or thread; where it holds none (a thread that was started without the
context), the process's newest run is meant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from time import time_ns
from typing import Any

from logferry import identity
from logferry.diagnostics import complain
from logferry.ending import Ending
from logferry.events import level_number
from logferry.hot import FULL, Hot
from logferry.layout import NodeDir, host_name, is_own_node_dir, safe_component
from logferry.lock import Lock
from logferry.logger import Logger
from logferry.producer import Membership
from logferry.run import Hooks, Run
from logferry.settings import Settings, load
from logferry.spool import lock_holder


class _NoRun(Run):
    """What `current` returns without a run: takes every call and does nothing."""

    __slots__ = ()

    def __init__(self) -> None:  # nothing of a run is opened
        hot = Hot()
        hot.level = hot.threshold = FULL
        Logger.__init__(self, hot, {})
        self._finished, self._producer, self._pid = True, None, 0
        self._lock = Lock()

    @property
    def experiment_id(self) -> str:
        return ""

    @property
    def run_id(self) -> str:
        return ""

    def result(self, metrics: Mapping[str, Any]) -> None:
        pass

    def end(self, status: str, how: dict[str, Any] | None) -> None:
        pass


class _Session:
    """The open runs of this process, newest last; `left` are those that the end of the process ended."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.left: list[Run] = []
        self.opened = 0
        self.variable: ContextVar[Run | None] = ContextVar("logferry_run", default=None)
        self.ending = Ending(self.end_all)
        self.hooks = Hooks(self.ended, self.ending.joined)

    def began(self, run: Run) -> None:
        self.runs.append(run)
        self.variable.set(run)
        self.ending.watch()
        self.ending.joined()
        self.tell_children()

    def ended(self, run: Run) -> None:
        if run in self.runs:
            self.runs.remove(run)
        if self.variable.get() is run:
            self.variable.set(self.runs[-1] if self.runs else None)
        self.tell_children()
        if not self.runs:
            self.ending.rest()

    def tell_children(self) -> None:
        """Export the newest run to the processes that this one starts."""
        if self.runs:
            newest = self.runs[-1]
            note = identity.parent_note(newest.experiment_id, newest.run_id, os.environ, os.getpid())
            os.environ[identity.PARENT] = note
        else:
            os.environ.pop(identity.PARENT, None)

    def end_all(self, status: str, how: dict[str, Any] | None, *, implied: bool = False) -> bool:
        leaving = self.runs.copy()
        self.left += leaving
        for run in reversed(leaving):
            run.leave(status, how, implied=implied)
        return not self.runs

    def current(self) -> Run:
        """Return the run of this context, else the newest one; at the end of the process one that it ended."""
        run = self.variable.get()
        if run is not None and (run in self.runs or run in self.left):
            return run
        return next(reversed(self.runs or self.left), _no_run)

    def forked(self) -> None:
        # One that the end of the parent ended goes on in its child.
        self.runs, self.left = self.runs + self.left, []
        self.ending.forked()
        for run in self.runs:
            run.forked()


_session = _Session()
_no_run = _NoRun()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_session.forked)


def current() -> Run:
    """Return the active run: this context's, else the process's newest, else one that does nothing."""
    return _session.current()


def init(
    experiment_id: str,
    *,
    model: str | None = None,
    dataset: str | None = None,
    config: Any = None,
    run_id: str | None = None,
    group: str | None = None,
    tags: Iterable[str] = (),
    notes: str = "",
    level: int | str | None = None,
) -> Run:
    """Open a run, or join the one that this process belongs to.

    Args:
        experiment_id: what is being studied; one safe file name, e.g. `"exp042"`.
        model: name of the model, for the result.
        dataset: name and version of the data set, for the result.
        config: mapping, dataclass or namespace; its top-level entries are logged as `ConfigLoaded`.
        run_id: the user's own id; by default it is derived (see `identity`).
        group: what this run belongs together with.
        tags: words to find the run by.
        notes: free text.
        level: least level that is taken, number or name; `LOGFERRY_LEVEL` or DEBUG by default.

    Raises:
        ValueError: an id is no safe file name, or a setting is wrong; the message says which and what is allowed.

    """
    given = {"model": model, "dataset": dataset, "config": config, "group": group, "tags": tags, "notes": notes}
    if run_id is not None:
        safe_component(run_id, "run id")
    settings = load(run_id=run_id, level=None if level is None else level_number(level))
    return open_run(experiment_id, settings, given, time_ns, os.urandom)


def open_run(
    experiment_id: str,
    settings: Settings,
    given: Mapping[str, Any],
    clock: Callable[[], int],
    random_bytes: identity.RandomBytes,
) -> Run:
    """Do what `init` does with settings, clock (nanoseconds since the epoch) and randomness of the caller's."""
    safe_component(experiment_id, "experiment id")
    started_ns = clock()
    who = identity.resolve(
        experiment_id, settings.run_id, os.environ, started_ns, random_bytes, ordinal=_session.opened, pid=os.getpid()
    )
    _session.opened += who.derived
    safe_component(who.run_id, "run id")
    home = _home_in_force(settings)
    if not os.environ.get("LOGFERRY_HOME"):  # whoever names none names the agent's
        settings = settings._replace(home=home)
    member = Membership(
        experiment_id, who.run_id, host_name(), who.rank, home, settings.level, started_ns, who.inherited
    )
    run = Run(
        member, settings, {**given, "group": given.get("group") or who.group}, clock, random_bytes, _session.hooks
    )
    _session.began(run)
    return run


def _home_in_force(settings: Settings) -> Path:
    """Return the home that the node's agent serves while it runs, else the one of the settings."""
    node = NodeDir(settings.node_dir)
    if not is_own_node_dir(node.path) or lock_holder(node.lock) is None:
        return settings.home
    try:
        served = Path(node.home_note.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return settings.home
    if served != settings.home and os.environ.get("LOGFERRY_HOME"):
        complain("home", f"the agent on this node serves {served}; logs and results go there, not to {settings.home}")
    return served if served.is_absolute() else settings.home
