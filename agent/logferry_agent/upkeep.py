"""What has time: final files, compression, retention, resting files. Nothing here may hold up the writer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from logferry.layout import Home
from logferry_agent.compression import compress
from logferry_agent.fs import Problem
from logferry_agent.logset import runs
from logferry_agent.prune import prune_home
from logferry_agent.rotation import in_order
from logferry_agent.state import State

if TYPE_CHECKING:
    from logferry_agent.writer import Writer

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_EVERY_S = 5.0
# Looking through all runs of a home costs a listing of each; what a crash left uncompressed can wait so long.
_SCAN_S = 300.0
_REST_S = 30.0
# Compressing less gains little, and hides a small log from grep.
_WORTH_COMPRESSING_BYTES = 1 << 20
_SECOND = 1_000_000_000


class Upkeep:
    """Works through a list of small jobs, one at a time, on a thread of its own."""

    def __init__(self, writer: Writer, state: State, home: Home, alive: Callable[[str, str], bool]) -> None:
        self.problem: Problem | None = None
        self._writer, self._state, self._home, self._alive = writer, state, home, alive
        self._to_compress: set[Path] = set()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "logferry-upkeep")

    def compress(self, path: Path) -> None:
        """Compress a rotated file soon, if the configuration says so."""
        self._to_compress.add(path)
        self._wake.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        next_scan = loop.time()
        while True:
            try:
                if loop.time() >= next_scan:
                    await self._call(self._find_uncompressed)
                    await self.prune()
                    next_scan = loop.time() + _SCAN_S
                await self._finalise()
                await self._compress_all()
                await self._rest()
                self.problem = None
            except Exception as error:  # a full disk, a vanished directory: said, and tried again
                self._hold(error)
            self._wake.clear()
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def prune(self) -> list[Path]:
        """Apply the retention now; return what was removed."""
        writer = self._writer
        current = await self._state.call(self._state.current_files)

        def is_current(experiment: str, run: str, name: str) -> bool:
            return (experiment, run, name) in current or writer.is_current(experiment, run, name)

        arguments = (writer.fs, self._home, writer.host, writer.config, writer.clock(), is_current)
        gone = await self._call(prune_home, *arguments)
        for directory in {path.parent for path in gone}:
            if not in_order(os.listdir(directory)):
                await self._state.call(self._state.forget_outputs, directory.parent.name, directory.name)
        return gone

    async def _call(self, function: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _find_uncompressed(self) -> None:
        if self._writer.config.compress == "none":
            return
        for run in runs(self._home):
            for log in in_order(path.name for path in run.path.iterdir()):
                if log.host == self._writer.host and not log.current and not log.packed:
                    self._to_compress.add(run.path / log.name)

    async def _compress_all(self) -> None:
        writer = self._writer
        while self._to_compress:
            path = next(iter(self._to_compress))
            if writer.config.compress != "none" and path.exists():
                await self._call(compress, writer.fs, path, writer.config.compress)
            self._to_compress.discard(path)

    async def _finalise(self) -> None:
        config = self._writer.config
        before = self._writer.clock() - int(config.final_after_s * _SECOND)
        for checkpoint in await self._state.call(self._state.sealed_outputs, before):
            if not self._alive(checkpoint.experiment, checkpoint.run):
                output = await self._writer.loaded(checkpoint.key)
                large = checkpoint.offset >= _WORTH_COMPRESSING_BYTES
                await output.finalise(rotate=large and config.compress != "none")

    async def _rest(self) -> None:
        """Close files that nothing was written to for a while, and the longest unused where too many are open."""
        writer = self._writer
        old = writer.clock() - int(_REST_S * _SECOND)
        for output in writer.resting():
            if output.used_at_ns < old or writer.open_files > writer.config.open_files:
                await output.rest()
                writer.forget(output)

    def _hold(self, error: Exception) -> None:
        said = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        path = str(getattr(error, "filename", None) or self._home.logs)
        if self.problem is None:
            _log.warning("compression or retention at %s is tried again: %s", path, said)
        since = self.problem.since_ns if self.problem else self._writer.clock()
        self.problem = Problem("upkeep", path, said, since)
