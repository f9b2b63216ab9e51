"""One output: a run's JSON lines, or its text rendering, on its way from the journal to a file.

Order: write → fsync (file, and directory if new) → commit of the checkpoint → the journal may be trimmed. At any moment
an output knows the journal positions of everything that its checkpoint does not cover, so that every failure has the
same answer as a crash: go back to the checkpoint and write the same bytes at the same offsets again. That is also right
after a failed fsync, when nothing says which of the pages are on disk.

One lock per output: a step, a checkpoint and a rotation never overlap, so one call is outstanding at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from aiofiles.threadpool.binary import AsyncFileIO

from logferry_agent import logfile, rotation
from logferry_agent.chunk import Chunk, newest
from logferry_agent.fs import Problem
from logferry_agent.logfile import TAIL_BYTES, LogFile, Lost
from logferry_agent.segment import Record
from logferry_agent.services import Services
from logferry_agent.state import Checkpoint, Unsettled

_T = TypeVar("_T")
# One step renders this much on the loop: some milliseconds.
_STEP_BYTES = 512 << 10
_READ_BYTES = 1 << 20


class Safe(NamedTuple):
    """What a checkpoint made safe: through which number by producer, and which producers' seals.

    `problem` is why the file, which it covers whole, could not be rotated; that is tried again.
    """

    written: dict[str, int]
    sealed: list[str]
    problem: Exception | None = None


_NOTHING = Safe({}, [])


class Output:
    """See the module."""

    def __init__(self, saved: Checkpoint, services: Services) -> None:
        self.saved = saved
        self.key = saved.key
        self.held: Problem | None = None
        self.lock = asyncio.Lock()
        self.is_served = self.is_saving = False
        self.queued_bytes = 0
        self.used_at_ns = services.clock()
        self._services = services
        self._directory = services.logs / saved.experiment / saved.run
        self._seen = saved.position
        self._queue: deque[Record] = deque()
        self._later = array("Q")  # positions of records that are not in memory
        self._unsaved = array("Q")  # positions of records that are written, or being written, since the checkpoint
        self._file: LogFile | None = None
        self._to_saved()

    def _to_saved(self) -> None:
        saved = self.saved
        self._position, self._offset, self._tail = saved.position, saved.offset, saved.tail
        self._cursors = dict(saved.cursors)
        self._ahead = Chunk(sealed_ns=saved.sealed_ns)
        self.newly_written: dict[str, int] = {}

    @property
    def has_work(self) -> bool:
        return bool(self._queue or self._later)

    @property
    def is_dirty(self) -> bool:
        return bool(self._unsaved) or self.saved.rotating is not None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def is_behind(self) -> bool:
        """Say whether records wait in the journal only."""
        return bool(self._later) or self.held is not None

    @property
    def path(self) -> Path:
        return self._directory / (self.saved.name or self._new_name(self.saved.variant))

    def first_needed(self) -> int | None:
        """Return the journal position from which on this output needs the records; None: all are covered."""
        if self._unsaved:
            return self._unsaved[0]
        if self._queue:
            return self._queue[0].position
        return self._later[0] if self._later else None

    def offer(self, record: Record, *, keep: bool) -> None:
        """Take note of a record of this run; `keep` says whether its payload may stay in memory."""
        if record.position < self._seen:
            return
        self._seen = record.end
        if keep and not self._later:
            self._queue.append(record)
            self._hold_bytes(len(record.payload))
        else:
            self._later.append(record.position)

    def _hold_bytes(self, count: int) -> None:
        self.queued_bytes += count
        self._services.memory.used += count

    async def step(self) -> None:
        """Write what comes next.

        Raises:
            OSError: it could not be written; the output is back at its checkpoint.

        """
        async with self.lock:
            self.used_at_ns = self._services.clock()
            try:
                records = await self._next_records()
                chunk = self._services.renderer.render(self.key.kind, records, self._cursors)
                if chunk.data:
                    await self._write(chunk.data)
            except Lost:
                await self._lost()
                return
            except Exception:  # not a cancellation: then a call may still be using the file
                await self._rewind()
                raise
            if records:
                self._advance(records[-1].end, chunk)

    async def _next_records(self) -> list[Record]:
        records: list[Record] = []
        size = 0
        while self._queue and size < _STEP_BYTES:
            record = self._queue.popleft()
            records.append(record)
            size += len(record.payload)
        self._hold_bytes(-size)
        self._unsaved.extend(record.position for record in records)
        return records or await self._read_later()

    async def _read_later(self) -> list[Record]:
        if not self._later:
            return []
        found, end = await self._services.read(self._later[0], _READ_BYTES)
        wanted = self._later[: max(1, bisect_left(self._later, end))]
        # What cannot be read any more is left out here, and shows as a jump of the numbers.
        held = {record.position: record for record in found if isinstance(record, Record)}
        self._unsaved.extend(wanted)
        del self._later[: len(wanted)]
        return [held[position] for position in wanted if position in held]

    async def _write(self, data: bytes) -> None:
        file = await self._opened()
        await self._handle(file).write(data)
        self._offset += len(data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def _advance(self, position: int, chunk: Chunk) -> None:
        self._position = position
        self._cursors.update(chunk.cursors)
        for producer in chunk.ended:
            self._cursors.pop(producer, None)
        self.newly_written.update((producer, cursor.last) for producer, cursor in chunk.cursors.items())
        ahead = self._ahead
        if chunk.document:
            ahead.document = newest(ahead.document, chunk.document)
        ahead.seals.update(chunk.seals)
        ahead.sealed_ns = max(ahead.sealed_ns, chunk.sealed_ns)
        for name, data in chunk.bad.items():
            self._services.keep_bad(name, data)

    async def _rewind(self) -> None:
        """Go back to the checkpoint: everything after it will be read from the journal and written again."""
        self._later = self._unsaved + array("Q", [record.position for record in self._queue]) + self._later
        self._unsaved = array("Q")
        self._queue.clear()
        self._hold_bytes(-self.queued_bytes)
        self._to_saved()
        await self._close_file()

    async def checkpoint(self) -> Safe:
        """Sync, commit, rotate if it is time; return what is safe now.

        Raises:
            OSError: a sync failed; the output is back at its last checkpoint.
            sqlite3.Error: the commit failed; the output is as before.

        """
        async with self.lock:
            if not self.is_dirty:
                return _NOTHING
            try:
                await self._sync()
            except Lost:
                await self._lost()
                return _NOTHING
            except Exception:
                await self._rewind()
                raise
            ahead, written = self._ahead, self.newly_written
            unsettled = Unsettled(self.key.experiment, self.key.run, ahead.document, ahead.seals)
            wanted = self.key.kind == "jsonl" and (ahead.document or ahead.seals)
            await self._commit(self._standing(), unsettled if wanted else None)
            self._unsaved = array("Q")
            self._ahead, self.newly_written = Chunk(sealed_ns=ahead.sealed_ns), {}
            problem = await self._rotated()
            return Safe(written, list(ahead.seals), problem) if self.key.kind == "jsonl" else Safe({}, [], problem)

    async def _sync(self) -> None:
        file = self._file
        if file is None:
            return
        size = await self._run(file.check, self._offset)
        handle = self._handle(file)
        if size > self._offset and not self.has_work and self._services.caught_up():
            await handle.truncate(self._offset)
        await handle.flush()

    def _standing(self) -> Checkpoint:
        return replace(
            self.saved,
            position=self._position,
            offset=self._offset,
            tail=self._tail,
            sealed_ns=self._ahead.sealed_ns,
            final=False,
            cursors=dict(self._cursors),
        )

    async def _commit(self, checkpoint: Checkpoint, unsettled: Unsettled | None = None) -> None:
        await self._services.commit(checkpoint, unsettled)
        self.saved = checkpoint

    async def _opened(self) -> LogFile:
        if self._file is None and self.saved.rotating:
            await self._finish_rotation()
        if self._file is None and self.saved.name:
            await self._reopen()
        if self._file is None:
            await self._create()
        assert self._file is not None  # noqa: S101 - one of the three opened it
        return self._file

    async def _reopen(self) -> None:
        saved = self.saved
        try:
            file = await self._run(logfile.reopen, self._services.fs, self.path, saved.inode, saved.offset, saved.tail)
        except Lost:
            self._forget_file()
            return
        if self.key.kind == "text":  # its configuration may have changed, so what lies beyond is not what will come
            await self._run(file.truncate, saved.offset)
        self._file = file

    async def _create(self) -> None:
        """Create the file and commit its identity before its first byte: no line may be in a file unknown to us."""
        services, variant = self._services, self.saved.variant
        while True:
            path = self._directory / self._new_name(variant)
            file = await self._run(logfile.create, services.fs, path, services.logs.parent)
            if file is not None:
                break
            variant += 1
        new = replace(
            self.saved,
            name=path.name,
            inode=file.inode,
            offset=0,
            tail=b"",
            variant=variant,
            created_ns=services.clock(),
        )
        try:
            await self._commit(new)
        except BaseException:
            file.close()
            raise
        self._file, self._offset, self._tail = file, 0, b""

    def _new_name(self, variant: int) -> str:
        return rotation.current_name(self._services.host, variant, self.key.kind)

    def _forget_file(self) -> None:
        """Leave a file alone that is not ours any more; the next one has another name.

        Where no checkpoint covers a byte of it, nothing is lost and there is nothing to say: so it is with a new file
        whose name did not survive a power failure.
        """
        path, had_lines = self.path, bool(self.saved.offset)
        variant = self.saved.variant + had_lines
        self.saved = replace(self.saved, name=None, inode=0, offset=0, tail=b"", variant=variant)
        self._offset, self._tail = 0, b""
        if had_lines:
            self._services.lost(self.key, path)

    async def _lost(self) -> None:
        self._forget_file()
        await self._rewind()

    async def _rotated(self) -> Exception | None:
        """Rotate if it is time, or a rotation was begun; return why that failed."""
        config, saved = self._services.config, self.saved
        now, limits = self._services.clock(), (config.rotate_bytes, config.rotate_age_s)
        try:
            if saved.rotating:
                await self._finish_rotation()
            elif saved.name and rotation.is_due(saved.offset, saved.created_ns, now, *limits):
                await self.rotate()
        except Exception as error:  # what was checkpointed is safe all the same, and must be reported
            return error
        return None

    async def rotate(self) -> None:
        """Give the file, which a checkpoint covers whole, its rotated name; the lock must be held."""
        saved = self.saved
        count = saved.rotations + 1
        name = rotation.rotated_name(saved.name or "", self._services.clock(), count)
        await self._commit(replace(saved, rotating=name, rotations=count))
        await self._finish_rotation()

    async def _finish_rotation(self) -> None:
        await self._close_file()
        saved, new = self.saved, self._directory / (self.saved.rotating or "")
        if await self._run(logfile.rename, self._services.fs, self.path, new, saved.inode):
            fresh = replace(saved, name=None, inode=0, offset=0, tail=b"", created_ns=0, rotating=None)
            await self._commit(fresh)
            self._offset, self._tail = 0, b""
            self._services.rotated(new)
        else:  # the name is taken, or the file is not ours any more, which opening it finds out
            await self._commit(replace(saved, rotating=None))

    async def finalise(self, *, rotate: bool) -> None:
        """Note that no more lines are expected."""
        async with self.lock:
            if self.has_work or self.is_dirty:
                return
            await self._commit(replace(self.saved, final=True))
            if rotate and self.saved.name:
                await self.rotate()
            await self._close_file()

    async def rest(self) -> None:
        """Close the file of an output that has nothing to write."""
        async with self.lock:
            if not self.has_work and not self.is_dirty:
                await self._close_file()

    async def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # the descriptor is gone even when this fails; what counts was said by fsync
            with contextlib.suppress(OSError):
                await self._run(file.close)

    def _handle(self, file: LogFile) -> AsyncFileIO:
        # a LogFile has those methods of a file that are called through it
        return AsyncFileIO(cast(BinaryIO, file), asyncio.get_running_loop(), self._services.executor)

    async def _run(self, function: Callable[..., _T], *args: Any) -> _T:
        loop = asyncio.get_running_loop()
        call: Awaitable[_T] = loop.run_in_executor(self._services.executor, functools.partial(function, *args))
        return await call
