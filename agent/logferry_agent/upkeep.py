"""What has time: final files, compression, retention, resting files, free memory. Nothing here may hold up the writer.

Each file is looked after on its own: one that cannot be read or removed is said, tried again, and stops no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from logferry.layout import Home
from logferry_agent.compression import compress
from logferry_agent.config import AgentConfig
from logferry_agent.fs import said
from logferry_agent.logset import listed
from logferry_agent.problems import Problems
from logferry_agent.prune import condemned, key_of, remove
from logferry_agent.rotation import LogFile, in_order
from logferry_agent.slack import Slack, give_back
from logferry_agent.state import Checkpoint, State
from logferry_agent.steadiness import Steadiness

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
    """Works through a list of small jobs, one at a time, on a thread of its own; `problems` by path."""

    def __init__(
        self, writer: Writer, state: State, home: Home, alive: Callable[[str, str], bool], steadiness: Steadiness
    ) -> None:
        self.problems = Problems(writer.clock)
        self._steadiness = steadiness
        self._writer, self._state, self._home, self._alive = writer, state, home, alive
        self._to_compress: set[Path] = set()
        self._slack = Slack()
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
            if loop.time() >= next_scan:
                next_scan = loop.time() + _SCAN_S
                await self._attempt(self._home.logs, self._scan())
            await self._attempt(self._state.path, self._finalise())
            for path in list(self._to_compress):
                if await self._attempt(path, self._compress(path)):
                    self._to_compress.discard(path)
            await self._drop_idle()
            self._wake.clear()
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                if self._slack.is_due(self._writer.position):
                    with contextlib.suppress(MemoryError, RuntimeError):  # no thread can be started: another time
                        await self._call(give_back)

    async def _drop_idle(self) -> None:
        """Let silent outputs go. No frame that waits for minutes may keep the last of them."""
        for output in self._writer.forget_idle(_REST_S):
            await output.rest()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def prune(self, *, asked: bool) -> list[Path]:
        """Apply the retention now; return what was removed. What cannot be is among the problems."""
        writer = self._writer
        in_use = await self._state.call(self._state.current_files)
        config = self._believed(asked=asked)
        files, failed = await self._call(condemned, self._home, writer.host, config, writer.clock(), in_use)
        self._hold_unlisted(failed, "retention", {self._home.path, *(file.path for file in files)})
        gone = [file.path for file in files if await self._attempt(file.path, self._remove(file), "retention")]
        for directory in {path.parent for path in gone}:
            await self._attempt(directory, self._forget(directory), "retention")
        return gone

    async def _forget(self, directory: Path) -> bool:
        if not in_order(await self._call(os.listdir, directory)):
            await self._state.call(self._state.forget_outputs, directory.parent.name, directory.name)
        return True

    def _hold_unlisted(self, failed: dict[Path, OSError], what: str, others: Collection[Path] = ()) -> None:
        self.problems.keep({*failed, *others}, what)
        for path, error in failed.items():
            self._hold(path, what, error)

    def _hold(self, path: Path, what: str, error: Exception) -> None:
        if self.problems.hold(path, what, said(error)):
            _log.warning("%s of %s is tried again: %s", what, path, said(error))

    def _believed(self, *, asked: bool) -> AgentConfig:
        """Return the configuration, without the age of files where the clock is not to be believed."""
        config, steadiness = self._writer.config, self._steadiness
        is_trusted = config.keep_age_s is None or steadiness.trusts_ages(asked=asked)
        if is_trusted or not steadiness.stepped_by_s:
            self.problems.release(self._home.path)
        else:
            why = f"the clock stepped by {steadiness.stepped_by_s:+.0f} s; ages are believed an hour after"
            if self.problems.hold(self._home.path, "retention", why, self._home.logs):
                _log.warning("nothing in %s is removed for its age: %s", self._home.logs, why)
        return config if is_trusted else replace(config, keep_age_s=None)

    async def _remove(self, file: LogFile) -> bool:
        output = await self._writer.loaded(key_of(file))
        return await output.give_up_file(
            file.path.name, partial(self._call, remove, self._writer.fs, file, self._writer.clock())
        )

    async def _scan(self) -> bool:
        if self._writer.config.compress != "none":
            found, failed = await self._call(self._uncompressed)
            self._hold_unlisted(failed, "compression")
            # Asked afterwards: whoever renames notes it first, and looks for that very file after a crash.
            in_use = await self._state.call(self._state.current_files)
            self._to_compress |= {path for file, path in found.items() if file not in in_use}
        await self.prune(asked=False)
        return True

    def _uncompressed(self) -> tuple[dict[tuple[str, str, str], Path], dict[Path, OSError]]:
        found, failed = listed(self._home)
        files = {
            (run.experiment, run.run, log.name): run.path / log.name
            for run, names in found
            for log in in_order(names)
            if log.host == self._writer.host and not log.current and not log.packed
        }
        return files, failed

    async def _compress(self, path: Path) -> bool:
        await self._call(self._compress_now, path, self._writer.config.compress)
        return True

    def _compress_now(self, path: Path, kind: str) -> None:
        if kind != "none" and path.exists() and stat.S_ISREG(path.lstat().st_mode):
            compress(self._writer.fs, path, kind)

    async def _finalise(self) -> bool:
        now_ns = self._writer.clock()
        before_ns = now_ns - int(self._writer.config.final_after_s * _SECOND)
        for checkpoint in await self._state.call(self._state.sealed_outputs, before_ns, now_ns):
            if not self._alive(checkpoint.experiment, checkpoint.run):
                directory = self._home.run_logs(checkpoint.experiment, checkpoint.run)
                await self._attempt(directory / (checkpoint.name or checkpoint.kind), self._finalise_one(checkpoint))
        return True

    async def _finalise_one(self, checkpoint: Checkpoint) -> bool:
        large = checkpoint.offset >= _WORTH_COMPRESSING_BYTES
        output = await self._writer.loaded(checkpoint.key)
        await output.finalise(rotate=large and self._writer.config.compress != "none")
        return True

    async def _call(self, function: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _attempt(self, path: Path, job: Awaitable[bool], what: str = "upkeep") -> bool:
        """Do one job; a full disk, a bad file, a vanished directory are said, and others go on."""
        try:
            done = await job
        except FileNotFoundError:  # somebody was faster
            done = False
        except Exception as error:
            self._hold(path, what, error)
            return False
        self.problems.release(path)
        return done
