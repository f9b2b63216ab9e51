"""`HOME/agents/<host>`, touched every minute: readers elsewhere tell by it whether this host's agent is silent."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from logferry_agent.fs import FileSystem, Problem

_log = logging.getLogger(__name__)
_INTERVAL_S = 60.0
_RETRY_S = 2.0


class Heartbeat:
    """Touches the file; `held` says why it cannot."""

    def __init__(self, fs: FileSystem, home: Path, path: Path, clock_ns: Callable[[], int], executor: Executor) -> None:
        self._fs, self._home, self._path, self._clock_ns, self._executor = fs, home, path, clock_ns, executor
        self.held: Problem | None = None

    async def run(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self.beat)
                self.held = None
            except OSError as error:
                if self.held is None:
                    _log.warning("cannot touch %s: %s", self._path, error.strerror)
                since = self.held.since_ns if self.held else self._clock_ns()
                self.held = Problem("heartbeat", str(self._path), str(error.strerror), since)
            await asyncio.sleep(_RETRY_S if self.held else _INTERVAL_S)

    def beat(self) -> None:
        os.makedirs(self._home, exist_ok=True)
        self._fs.make_directories(self._path.parent, self._home)
        self._fs.close(self._fs.open(self._path, os.O_WRONLY | os.O_CREAT))
        now = self._clock_ns()
        self._fs.utime(self._path, (now, now))
