"""What the agent answers on its socket: `status`, `level` and `prune`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from logferry.events import level_number
from logferry.layout import MEMORY_FILESYSTEMS, NodeDir, filesystem_type, safe_component
from logferry_agent.filters import Filters
from logferry_agent.fs import Problem, said
from logferry_agent.journal import Journal
from logferry_agent.producers import Producer, Producers
from logferry_agent.receiver import Receiver
from logferry_agent.state import State
from logferry_agent.writer import Writer

# A list of a hundred thousand ended producers would be no status.
_MAX_LISTED = 2000


class Answers:
    """Built last, from all parts; `held` gives everything that is held back, `filters` the rules in force."""

    def __init__(
        self,
        node: NodeDir,
        home: Path,
        journal: Journal,
        producers: Producers,
        state: State,
        writer: Writer,
        filters: Callable[[], Filters],
        held: Callable[[], list[Problem]],
        elapsed_s: Callable[[], float],
    ) -> None:
        self._node, self._home, self._journal, self._producers = node, home, journal, producers
        self._state, self._writer, self._filters, self._held = state, writer, filters, held
        self._elapsed_s, self._started_s = elapsed_s, elapsed_s()
        self.receiver: Receiver | None = None

    async def answer(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if verb == "status":
            return self.status()
        if verb == "level":
            return await self._level(arguments)
        if verb == "prune":
            return await self._prune()
        return {"error": f"unknown question {verb!a}; known are status, level, prune"}

    def status(self) -> dict[str, Any]:
        listed = [one for one in self._producers if not one.sealed or not one.settled][:_MAX_LISTED]
        kind = filesystem_type(self._node.path)
        homes = sorted({str(one.about.get("home")) for one in listed if not one.sealed} - {str(self._home), "None"})
        return {
            "up": True,
            "pid": os.getpid(),
            "uptime_s": int(self._elapsed_s() - self._started_s),
            "node_dir": str(self._node.path),
            "home": str(self._home),
            "other_homes": homes,
            "node_filesystem": kind,
            "survives_reboot": kind not in MEMORY_FILESYSTEMS,
            "producers": [_shown(one) for one in listed],
            "connected": self._producers.connected,
            "queued_bytes": self._journal.queued_bytes,
            "journal_bytes": self._journal.used_bytes,
            "journal_damage": self._journal.quarantine.kept,
            "frames": self.receiver.frames if self.receiver else 0,
            "refused": dict(self.receiver.refused) if self.receiver else {},
            "writer": {"unknown_events": self._writer.unknown_events, "open_files": self._writer.open_files.count},
            "held": [problem._asdict() for problem in self._held()],
            "memory_bytes": resident_bytes(),
        }

    async def _prune(self) -> dict[str, Any]:
        removed = await self._writer.prune()
        failed = {problem.path: problem.error for problem in self._writer.held() if problem.what == "retention"}
        return {"removed": [str(path) for path in removed], "failed": failed}

    async def _level(self, arguments: dict[str, Any]) -> dict[str, Any]:
        experiment, run, level = (arguments.get(key) for key in ("experiment", "run", "level"))
        if not isinstance(experiment, str) or not isinstance(run, str):
            return {"error": "experiment and run must be strings"}
        try:
            safe_component(experiment, "experiment id")
            if run:
                safe_component(run, "run id")
            number = None if level is None else level_number(level)
        except ValueError as error:
            return {"error": str(error)}
        try:
            await self._state.call(self._state.set_level, experiment, run, number)
        except sqlite3.Error as error:  # no room: the next agent would not know of it
            return {"error": f"the level cannot be kept: {said(error)}"}
        self._filters().override(experiment, run, number)
        # Before anybody is told: the connections of those who rest show then that they are gone.
        told = [one for one in self._producers if one.identity and one.run[0] == experiment and run in {"", one.run[1]}]
        if self.receiver:
            self.receiver.push_levels()
        return {"experiment": experiment, "run": run or None, "level": number, "producers": len(told)}


def _shown(one: Producer) -> dict[str, Any]:
    return {
        "producer": one.id,
        "experiment_id": one.run[0],
        "run_id": one.run[1],
        "pid": one.about["pid"],
        "expected": one.next,
        "durable": one.durable,
        "written": one.written,
        "connected": one.identity is not None,
        "sealed": one.sealed,
        "spool": one.about["spool"],
    }


def resident_bytes(path: Path = Path("/proc/self/status")) -> int:
    """Return how much memory this process uses; 0 where nobody says."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
