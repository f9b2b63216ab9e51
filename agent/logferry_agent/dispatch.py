"""The way of a record: the journal is read forward once, and each output gets the records of its run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from logferry_agent.backlog import Memory
from logferry_agent.output import Output
from logferry_agent.record_runs import Runs, concerned
from logferry_agent.segment import HELLO, Damage, Record
from logferry_agent.services import ReadableJournal

_log = logging.getLogger(__name__)
_READ_BYTES = 4 << 20
# What all outputs may hold in memory, and each of them; beyond it they read the journal again.
_MEMORY_BYTES = 32 << 20
_OUTPUT_BYTES = 2 << 20
# How long reading waits for an output that is merely slow before that output is left to read by itself.
_PATIENCE_S = 0.5
_RETRY_S = 1.0
# Some milliseconds of giving out: after each, all others have their turn, which in a crowd takes far longer.
_AT_A_STRETCH = 512
# Each turn costs a few hand-overs between threads, whatever it brings. Nobody is promised that a line is in its file
# before the next checkpoint, so what becomes durable gathers for a moment; a reader that follows sees no difference.
# Who is behind by so many bytes has gathered enough.
_GATHER_S = 0.05
_BEHIND_BYTES = 1 << 20


class Dispatcher:
    """Reads on from `position`, as far as the journal is durable.

    Args:
        journal: what is read.
        runs: which run a producer's records belong to.
        memory: what all outputs hold.
        outputs_of: the outputs of a run.
        serve: sees to it that an output writes what it was given.
        on_failure: told why the journal or an output cannot be read; tried again.

    """

    def __init__(
        self,
        journal: ReadableJournal,
        runs: Runs,
        memory: Memory,
        outputs_of: Callable[[tuple[str, str]], Awaitable[list[Output]]],
        serve: Callable[[Output], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.position = 0
        self.unknown_events = 0
        self._journal, self._runs, self._memory = journal, runs, memory
        self._outputs_of, self._serve, self._on_failure = outputs_of, serve, on_failure
        self._moved, self._progress, self._hurried = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "logferry-read")

    @property
    def is_done(self) -> bool:
        """Say whether all that is durable was given out."""
        return self.position >= self._journal.durable

    def durable_moved(self) -> None:
        """Say that the journal has more."""
        self._moved.set()

    def hurry(self) -> None:
        """Say that somebody waits for what is durable to be written."""
        self._hurried.set()

    def progressed(self) -> None:
        """Say that an output wrote something, so that it may hold more."""
        self._progress.set()

    async def read(self, position: int, limit_bytes: int) -> tuple[list[Record | Damage], int]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._journal.read, position, limit_bytes)

    async def run(self, position: int) -> None:
        """Read from `position` on, until cancelled."""
        self.position = max(position, self._journal.oldest)
        while True:
            self._moved.clear()
            if self.is_done:
                await self._moved.wait()
            if self._journal.durable - self.position < _BEHIND_BYTES:
                await self._gather()
            await self._read_on()

    async def _read_on(self) -> None:
        """Read what comes next and give it out. Nothing here keeps it then: nothing else may come for hours."""
        try:
            records, end = await self.read(self.position, _READ_BYTES)
        except OSError as error:
            self._on_failure(error)
            await asyncio.sleep(_RETRY_S)
            return
        for number, record in enumerate(records):
            if isinstance(record, Record) and record.kind != HELLO:
                await self._give(record)
            if number % _AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        self.position = end

    async def _gather(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_S):
                await self._hurried.wait()
        self._hurried.clear()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _give(self, record: Record) -> None:
        run = self._runs.of(concerned(record))
        if run is None:
            self.unknown_events += record.events
            _log.error("events of the unknown producer %s at journal position %x", record.producer, record.position)
            return
        for output in await self._outputs_of(run):
            output.backlog.offer(record, keep=await self._has_room(output))
            self._serve(output)

    async def _has_room(self, output: Output) -> bool:
        """Wait a little for an output that is merely slow; say whether it may hold one more payload."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while not output.is_behind:
            if self._memory.used < _MEMORY_BYTES and output.backlog.queued_bytes < _OUTPUT_BYTES:
                return True
            self._progress.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._progress.wait()
            except TimeoutError:
                return False
        return False
