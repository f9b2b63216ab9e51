"""Results of runs whose producers ended: every run has a result, also one that died.

A seal makes a run due (committed together with the checkpoint that covers it). Then the newest document that passed
through the journal is written if the file lacks it; and where that still says RUNNING although its owner is sealed and
no producer of the run is alive here, it becomes what the owner last said of its status, else KILLED. A document whose
owner is somebody else's producer (another node, a later attempt) is left alone. Tried until it works.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from logferry.killpoints import passed
from logferry.layout import Home
from logferry.results import FINAL, KILLED, RUNNING, ResultError, read, replace
from logferry_agent.calls import PATIENCE_S, Calls, Place
from logferry_agent.fs import Problem
from logferry_agent.lines import time_text
from logferry_agent.state import State, Unsettled, age_key

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_SECOND = 1_000_000_000


class Settler:
    """Settles what `State.results_due` lists."""

    def __init__(
        self,
        state: State,
        home: Home,
        alive: Callable[[str, str], bool],
        about_of: Callable[[str], dict[str, Any] | None],
        host: str,
        clock: Callable[[], int],
    ) -> None:
        self.problem: Problem | None = None
        self._state, self._home, self._alive, self._about_of = state, home, alive, about_of
        self._host, self._clock = host, clock
        self._wake = asyncio.Event()
        self._calls = Calls("logferry-results")
        self._place = Place(self._calls, self)
        self._writing: Path | None = None
        # The loop settles, and so does a drain: one at a time.
        self._lock = asyncio.Lock()

    def close(self) -> None:
        self._calls.close()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            await self.settle_all()
            try:
                async with asyncio.timeout(_RETRY_S if self.problem else None):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def settle_all(self) -> bool:
        """Settle what is due; say whether all of it is."""
        async with self._lock:
            problem = await self._settle_due()
        if self.problem and problem is None:
            _log.info("results are written again")
        self.problem = problem
        return problem is None

    async def _settle_due(self) -> Problem | None:
        problem = None
        try:
            for due in await self._state.call(self._state.results_due):
                problem = await self._settle(due) or problem
        except sqlite3.Error as error:
            problem = self._problem(str(self._state.path), str(error))
        return problem

    async def _settle(self, due: Unsettled) -> Problem | None:
        path = self._home.result(due.experiment, due.run)
        alive = self._alive(due.experiment, due.run)
        self._writing = path
        try:
            final = await self._place.run(self._write, due, alive)
        except (OSError, ResultError, ValueError, TypeError) as error:
            return self._problem(str(path), getattr(error, "strerror", None) or str(error))
        seals = len(due.seals)
        await self._state.call(self._state.settled, due.experiment, due.run, seals=seals, forget=final and not alive)
        return None

    def on_hang(self) -> None:
        self.problem = self._problem(str(self._writing), f"a call has not returned for {PATIENCE_S:.0f} s")

    def _problem(self, path: str, error: str) -> Problem:
        if self.problem is None:
            _log.warning("result %s is not written yet, and tried again: %s", path, error)
        return Problem("result", path, error, self.problem.since_ns if self.problem else self._clock())

    def _write(self, due: Unsettled, alive: bool) -> bool:
        """Write what the file lacks; say whether the run's result is final."""
        path = self._home.result(due.experiment, due.run)
        try:
            present = read(path)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP}:  # a link is nobody's document, and is replaced
                raise
            present = None
        settled = settle(present, due, self._begun(due), alive=alive)
        if settled is not None:
            replace(path, settled)
            passed("settle.written")
        return (settled or present or {}).get("status") in FINAL

    def _begun(self, due: Unsettled) -> dict[str, Any] | None:
        """Return a document for a run of which none is known but that its owner ended."""
        for producer, seal in due.seals.items():
            about = self._about_of(producer) or {}
            if about.get("owner") or seal.get("owner"):
                started = time_text(int(about.get("started_ns") or seal["time_ns"]))
                document = {"experiment_id": due.experiment, "run_id": due.run, "timestamp": started}
                return {**document, "status": RUNNING, "host": self._host, "started": started, "owner": producer}
        return None


def settle(
    present: dict[str, Any] | None, due: Unsettled, begun: dict[str, Any] | None, *, alive: bool
) -> dict[str, Any] | None:
    """Return the document to write, None if the file is right as it is."""
    passed = due.document
    lacks = passed is not None and (present is None or _is_newer(passed, present))
    document = passed if lacks else present or begun
    if document is None:
        return None
    seal = due.seals.get(str(document.get("owner")))
    if document.get("status") == RUNNING and seal is not None and not alive:
        return _ended(document, seal)
    if seal is not None and seal.get("implied") and document.get("exit") != seal.get("exit"):
        # It took the end of its process for a good one, and could not see what became of that.
        return {**document, "status": seal["status"], "exit": seal["exit"], "revision": age_key(document)[1] + 1}
    return document if lacks else None


def _is_newer(passed: dict[str, Any], present: dict[str, Any]) -> bool:
    if age_key(passed)[0] != age_key(present)[0]:
        return age_key(passed) > age_key(present)
    if (passed.get("status") in FINAL) != (present.get("status") in FINAL):
        return passed.get("status") in FINAL
    return age_key(passed) > age_key(present)


def _ended(document: dict[str, Any], seal: dict[str, Any]) -> dict[str, Any]:
    status = seal.get("status") if seal.get("status") in FINAL else KILLED
    when = time_text(seal["time_ns"])
    # A seal by an earlier version of the agent has no exit where the producer vanished.
    how = seal.get("exit") or (None if seal.get("end") == "finished" else {"reason": seal.get("end", "vanished")})
    ended = {**document, "timestamp": when, "status": status, "exit": how}
    started = _seconds(document.get("started"))
    if started is not None:
        ended["duration_s"] = round(max(0.0, seal["time_ns"] / _SECOND - started), 3)
    attempt, revision = age_key(document)
    return {**ended, "attempt": max(1, attempt), "revision": revision + 1}


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
