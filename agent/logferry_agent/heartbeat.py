"""`HOME/agents/<host>`, touched every minute: readers elsewhere tell by it whether this host's agent is silent.

The time is that of the clock that stamps the home's files: on a network file system all hosts share it, while their own
clocks may differ by hours. A clock that stepped is noticed by the next look, or every run would seem lost for a minute.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from logferry_agent.fs import FileSystem, Problem

_log = logging.getLogger(__name__)
_INTERVAL_NS = 60 * 1_000_000_000
_LOOK_S = 2.0


class Heartbeat:
    """Touches the file; `held` says why it cannot."""

    def __init__(self, fs: FileSystem, home: Path, path: Path, clock_ns: Callable[[], int], executor: Executor) -> None:
        self._fs, self._home, self._path, self._clock_ns, self._executor = fs, home, path, clock_ns, executor
        self._beaten_ns = 0
        self.held: Problem | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Touch the file where a minute has passed, or the clock says something else."""
        now_ns = self._clock_ns()
        if self.held is None and 0 <= now_ns - self._beaten_ns < _INTERVAL_NS:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._beat)
            self.held, self._beaten_ns = None, now_ns
        except OSError as error:
            if self.held is None:
                _log.warning("cannot touch %s: %s", self._path, error.strerror)
            since = self.held.since_ns if self.held else now_ns
            self.held = Problem("heartbeat", str(self._path), str(error.strerror), since)

    def _beat(self) -> None:
        os.makedirs(self._home, exist_ok=True)
        self._fs.make_directories(self._path.parent, self._home)
        self._fs.close(self._fs.open(self._path, os.O_WRONLY | os.O_CREAT))
        self._fs.utime(self._path, None)
