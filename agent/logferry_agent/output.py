"""One output: a run's JSON lines, or its text rendering, on its way from the journal to a file.

Order: write → sync (file, and directory if new) → commit of the checkpoint → the file is still ours → the producers
are told, the journal may be trimmed. At any moment the backlog knows the journal positions of everything that is not
safe so, and every failure has the same answer as a crash: go back to the checkpoint and write the same bytes at the
same offsets again. That is also right after a failed fsync, when nothing says which of the pages are on disk, and for
a file that somebody removed, truncated or replaced: what was not safe when it went goes to a new file.

One lock per output: a step, a checkpoint and a rotation never overlap, so one call is outstanding at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from logferry.killpoints import passed
from logferry_agent.backlog import Backlog
from logferry_agent.calls import PATIENCE_S
from logferry_agent.chunk import Chunk
from logferry_agent.current_file import CurrentFile
from logferry_agent.fs import Problem, said
from logferry_agent.logfile import Lost
from logferry_agent.segment import Record
from logferry_agent.services import Services
from logferry_agent.state import Checkpoint, Unsettled, newest

_log = logging.getLogger(__name__)
# One step renders this much on the loop: some milliseconds.
_STEP_BYTES = 512 << 10
_READ_BYTES = 1 << 20
_SMALL_BYTES = 16 << 10


class Safe(NamedTuple):
    """What a checkpoint made safe: through which number by producer, and which producers' seals."""

    written: dict[str, int]
    sealed: list[str]


_NOTHING = Safe({}, [])


class Output:
    """See the module."""

    def __init__(self, saved: Checkpoint, services: Services, *, is_known: bool = True) -> None:
        self.key = saved.key
        self.lock = asyncio.Lock()
        self.is_served = self.is_hurried = False
        self.next_turn: asyncio.TimerHandle | None = None
        self.last_turn_s = -math.inf
        self.use()
        self.backlog = Backlog(services.memory, saved.position)
        self._services = services
        self._file = CurrentFile(saved, services, self)
        self._is_known = is_known  # else its checkpoint was lost, and its files say where it stands
        self._failed: Problem | None = None
        self._hung: Problem | None = None
        self._failed_end = 0  # end of the last record that was known when it failed
        self._rotation_failed = False
        self._to_saved()

    def _to_saved(self) -> None:
        saved = self.saved
        self._position = saved.position
        self._cursors = dict(saved.cursors)
        self._ahead = Chunk(sealed_ns=saved.sealed_ns)
        self._newly_written: dict[str, int] = {}
        # A rotation that was begun is to be finished, also where nothing more is written.
        self.unsynced_since_s = self.used_at_s if saved.rotating else math.inf

    def use(self) -> None:
        self.used_at_s = asyncio.get_running_loop().time()

    @property
    def saved(self) -> Checkpoint:
        """The last checkpoint."""
        return self._file.saved

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def is_dirty(self) -> bool:
        return self.backlog.is_unsaved or self._rotation_failed or self.saved.rotating is not None

    @property
    def has_work(self) -> bool:
        return bool(self.backlog) or self.is_dirty

    @property
    def is_idle(self) -> bool:
        """Say whether its checkpoint says all about it, and nobody is at it."""
        return not (self.has_work or self.held or self.is_served or self.lock.locked())

    @property
    def is_open(self) -> bool:
        return self._file.is_open

    @property
    def hangs(self) -> bool:
        return self._file.hangs

    @property
    def is_behind(self) -> bool:
        """Say whether waiting for it would hold up others."""
        return self.backlog.in_journal or self.held is not None

    # trouble

    @property
    def held(self) -> Problem | None:
        return self._failed or (self._hung if self.hangs else None)

    def hold(self, error: Exception) -> None:
        """Note that it failed; that is over once a checkpoint covers all that was known then."""
        if self._failed is None:
            _log.warning("%s is held back, and tried again: %s", self.path, said(error))
        if not isinstance(error, OSError | sqlite3.OperationalError):  # a full disk says so in both ways
            _log.error("unexpected, please report", exc_info=error)
        since = self._failed.since_ns if self._failed else self._services.clock()
        self._failed, self._failed_end = Problem("output", str(self.path), said(error), since), self.backlog.seen

    def _release(self) -> None:
        if self._failed and self.saved.position >= self._failed_end:
            self._failed = None
            _log.info("%s is written again", self.path)

    def on_hang(self) -> None:
        since = self._services.clock() - int(PATIENCE_S * 1e9)
        what = f"a call into its file system has not returned for {PATIENCE_S:.0f} s"
        self._hung = Problem("output", str(self.path), what, since)
        self.backlog.spill()
        _log.warning("%s is held back: %s", self.path, what)

    # writing

    async def step(self, *, sync: bool = False) -> Safe:
        """Write what comes next; `sync`: and make safe all that is written. Return what is safe now.

        Raises:
            OSError: it could not be written or synced; the output is back at its checkpoint.
            sqlite3.Error: the commit failed; what is written may be made safe later.

        """
        async with self.lock:
            self.use()
            if self.backlog and not await self._wrote(sync=sync):
                return _NOTHING
            return await self._made_safe() if sync else _NOTHING

    async def _wrote(self, *, sync: bool) -> bool:
        """Write what comes next; say whether it is still our file."""
        try:
            await self._learn()
            records = await self._next_records()
            # Many small pieces are rendered as they come: to wait for each other would take each a turn of the loop.
            small = sum(len(record.payload) for record in records) < _SMALL_BYTES
            async with contextlib.nullcontext() if small else self._services.rendering:
                chunk = Chunk()
                for _ in self._services.renderer.steps(self.key, records, self._cursors, chunk):
                    # One in a turn of the loop: signals, frames, acks and timers get theirs however many write.
                    await asyncio.sleep(0)
            if chunk.data:
                await self._file.write(chunk.data, sync=sync)
        except Lost:
            await self._lost()
            return False
        except Exception:  # not a cancellation: then a call may still be using the file
            await self._rewind()
            raise
        if records:
            self._advance(records[-1].end, chunk)
        return True

    async def _learn(self) -> None:
        """Have the files say where it stands, if no checkpoint does."""
        if not self._is_known:
            await self._file.salvage()
            self._to_saved()
            self._is_known = True

    async def _next_records(self) -> list[Record]:
        position = self.backlog.next_later
        if position is None:
            return self.backlog.take(_STEP_BYTES)
        return self.backlog.take_later(*await self._services.read(position, _READ_BYTES))

    def _advance(self, position: int, chunk: Chunk) -> None:
        self._position = position
        self.unsynced_since_s = min(self.unsynced_since_s, self.used_at_s)
        self._cursors.update(chunk.cursors)
        for producer in chunk.ended:
            self._cursors.pop(producer, None)
        self._newly_written.update((producer, cursor.last) for producer, cursor in chunk.cursors.items())
        ahead = self._ahead
        if chunk.document:
            ahead.document = newest(ahead.document, chunk.document)
        ahead.seals.update(chunk.seals)
        ahead.sealed_ns = max(ahead.sealed_ns, chunk.sealed_ns)
        for name, data in chunk.bad.items():
            self._services.keep_bad(name, data)

    async def _rewind(self) -> None:
        """Go back to the checkpoint: everything after it will be read from the journal and written again."""
        self.backlog.rewind()
        self._to_saved()
        await self._file.rewind()

    async def _lost(self) -> None:
        self._file.forget()
        await self._rewind()

    # making it safe

    async def checkpoint(self) -> Safe:
        """Sync, commit, look whether the file is still ours, rotate if it is time; return what is safe now.

        Raises:
            OSError: a sync failed; the output is back at its last checkpoint.
            sqlite3.Error: the commit failed; the output is as before.

        """
        async with self.lock:
            return await self._made_safe()

    async def _made_safe(self) -> Safe:
        if not self.is_dirty:
            return _NOTHING
        before, ahead, written = self.saved, self._ahead, self._newly_written
        try:
            await self._sync()
            await self._file.commit(self._standing(), self._unsettled(ahead))
            passed("checkpoint.committed")
            await self._file.check()
        except Lost:
            # A removal while it was synced or committed: what nobody was told of goes to the new file too.
            self._file.saved = before
            await self._lost()
            return _NOTHING
        self.backlog.saved()
        self.unsynced_since_s = math.inf
        self._ahead, self._newly_written = Chunk(sealed_ns=ahead.sealed_ns), {}
        await self._rotate_if_due()
        return Safe(written, list(ahead.seals)) if self.key.kind == "jsonl" else _NOTHING

    @property
    def _is_at_end(self) -> bool:
        """Say whether nothing is known that would be written after what was taken."""
        return not self.backlog and self._services.caught_up()

    async def _sync(self) -> None:
        try:
            await self._file.sync(cut=self._is_at_end)
        except Lost:
            raise
        except Exception:
            await self._rewind()
            raise

    def _standing(self) -> Checkpoint:
        place, cursors = self._file.standing(), dict(self._cursors)
        return place._replace(position=self._position, sealed_ns=self._ahead.sealed_ns, final=False, cursors=cursors)

    def _unsettled(self, ahead: Chunk) -> Unsettled | None:
        if self.key.kind != "jsonl" or not (ahead.document or ahead.seals):
            return None
        return Unsettled(self.key.experiment, self.key.run, ahead.document, ahead.seals)

    async def _rotate_if_due(self) -> None:
        """Rotate, or hold the output because that fails: what was checkpointed is safe all the same."""
        try:
            await self._file.rotate_if_due()
        except Exception as error:
            self._rotation_failed = True
            self.unsynced_since_s = self.used_at_s
            self.hold(error)
        else:
            self._rotation_failed = False
            self._release()

    # what has time

    async def finalise(self, *, rotate: bool) -> None:
        """Note that no more lines are expected."""
        async with self.lock:
            if self.backlog or self.is_dirty:
                return
            if rotate and self.saved.name:
                await self._file.rotate()  # first: what is final is not asked again
            await self._file.commit(self.saved._replace(final=True))
            await self._file.close()

    async def rest(self) -> None:
        """Close the file if all of it is checkpointed."""
        async with self.lock:
            if not self.is_dirty:
                await self._file.close()

    async def give_up_file(self, name: str, remove: Callable[[], Awaitable[None]]) -> bool:
        """Let `remove` take the file `name`, unless lines may still be written to it; say whether it did."""
        async with self.lock:
            await self._learn()
            if self.saved.name == name:
                if self.backlog or self.is_dirty or not self.saved.final:
                    return False
                await self._file.leave()
            await remove()
            return True
