"""The file that an output writes to now: opened, created, rotated, and left alone once it is not ours any more.

`saved` is the last checkpoint, which says what the file is; `offset` is how far it is written. A new file's identity
is committed before its first byte. The caller makes one call at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from aiofiles.threadpool.binary import AsyncFileIO

from logferry.killpoints import passed
from logferry_agent import logfile, rotation
from logferry_agent.calls import Caller, Place
from logferry_agent.logfile import TAIL_BYTES, LogFile, Lost
from logferry_agent.salvage import salvage
from logferry_agent.services import Services
from logferry_agent.state import Checkpoint, Unsettled, without_file

_F = TypeVar("_F", bound=LogFile | None)


class CurrentFile:
    """See the module."""

    def __init__(self, saved: Checkpoint, services: Services, caller: Caller) -> None:
        self.saved = saved
        self.offset = saved.offset
        self._tail = saved.tail
        self._services = services
        self._place = Place(services.calls, caller)
        self._file: LogFile | None = None
        self._is_synced = True  # what this life wrote
        self._may_exceed = False  # an earlier life, or a write that failed, may have left bytes beyond `offset`

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def hangs(self) -> bool:
        """Say whether a call has not returned for long."""
        return self._place.hangs

    @property
    def _directory(self) -> Path:
        return self._services.logs / self.saved.experiment / self.saved.run

    @property
    def path(self) -> Path:
        return self._directory / (self.saved.name or self._new_name(self.saved.variant))

    def standing(self) -> Checkpoint:
        """Return the checkpoint that the file amounts to now, all else being as it was."""
        # A clock that was wrong when the file was made must not keep it from ever being old.
        created_ns = min(self.saved.created_ns, self._services.clock())
        return self.saved._replace(offset=self.offset, tail=self._tail, created_ns=created_ns)

    async def commit(self, checkpoint: Checkpoint, unsettled: Unsettled | None = None) -> None:
        await self._services.commit(checkpoint, unsettled)
        self.saved = checkpoint

    async def salvage(self) -> None:
        """Commit what the run's files say of where the output stands.

        Raises:
            OSError: they cannot be read now.

        """
        services = self._services
        files = (services.fs, services.logs, services.host, self.saved.key)
        await self.commit(*await self._place.run(salvage, *files))
        self.offset, self._tail = self.saved.offset, self.saved.tail

    async def write(self, data: bytes, *, sync: bool = False) -> None:
        """Write at `offset`; `sync`: and sync it, as `sync` does.

        Raises:
            Lost: the file is not ours any more.
            OSError: some or none of it was written, or nothing is known of it.

        """
        file = self._file or await self._opened()
        self._is_synced = False
        if sync:
            await self._place.run_both(partial(file.write, data, begin_sync=True), file.sync)
            self._is_synced = True
        else:
            await self._handle(file).write(data)
        self.offset += len(data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    async def sync(self, *, cut: bool) -> None:
        """Sync what was written; `cut` says that nothing will follow, so what lies beyond goes.

        Raises:
            Lost: the file is not ours any more.
            OSError: nothing is known of what was written since the checkpoint.

        """
        exceeds = cut and self._may_exceed
        if self._file is None or (self._is_synced and not exceeds):
            return
        self._is_synced = False
        if exceeds:
            await self._place.run(self._file.cut, self.offset)
        await self._place.run(self._file.sync)
        self._is_synced = True
        self._may_exceed = self._may_exceed and not cut

    async def check(self) -> None:
        """Look whether the file is still ours.

        Raises:
            Lost: it is not.

        """
        if self._file is not None:
            await self._place.run(self._file.check, self.offset)

    async def rewind(self) -> None:
        """Go back to the checkpoint."""
        self.offset, self._tail = self.saved.offset, self.saved.tail
        await self.close()

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # the descriptor is gone even when this fails; what counts was said by fsync
            with contextlib.suppress(OSError):
                await self._place.run(file.close)
            self._services.open_files.closed()

    async def leave(self) -> None:
        """Commit that the next line goes to a new file."""
        await self.close()
        await self.commit(without_file(self.saved))
        self.offset, self._tail = 0, b""

    def forget(self) -> None:
        """Leave a file alone that is not ours any more; the next one has another name.

        Where no checkpoint covers a byte of it, nothing is lost and there is nothing to say: so it is with a new file
        whose name did not survive a power failure.
        """
        path, had_lines = self.path, bool(self.saved.offset)
        self.saved = without_file(self.saved)._replace(variant=self.saved.variant + had_lines)
        self.offset, self._tail = 0, b""
        if had_lines:
            self._services.lost(self.saved.key, path)

    # opening

    async def _opened(self) -> LogFile:
        if self.saved.rotating:
            await self.finish_rotation()
        self._file = await self._admitted(self._reopened) if self.saved.name else None
        if self._file is None:
            created: LogFile = await self._admitted(self._created)
            self._file = created
        return self._file

    async def _admitted(self, opening: Callable[[], Awaitable[_F]]) -> _F:
        """Open a file, which counts among the open ones if there is one then."""
        await self._services.open_files.admit()
        try:
            file = await opening()
        except BaseException:
            self._services.open_files.closed()
            raise
        if file is None:
            self._services.open_files.closed()
        return file

    async def _reopened(self) -> LogFile | None:
        saved = self.saved
        try:
            known = saved.inode, saved.offset, saved.tail
            fs, below = self._services.fs, self._services.logs.parent
            file = await self._place.run(logfile.reopen, fs, self.path, below, *known)
        except Lost:
            self.forget()
            return None
        self.saved, self._may_exceed = saved._replace(inode=file.inode), True
        # The configuration of the text may have changed, so what lies beyond is not what will come.
        if saved.kind == "text" and not file.is_unproven:
            await self._place.run(file.cut, saved.offset)
        return file

    async def _created(self) -> LogFile:
        services, variant = self._services, self.saved.variant
        while True:
            path = self._directory / self._new_name(variant)
            file = await self._place.run(logfile.create, services.fs, path, services.logs.parent)
            if file is not None:
                break
            variant += 1
        passed("log.created")
        fresh, now_ns = without_file(self.saved), services.clock()
        try:
            await self.commit(fresh._replace(name=path.name, inode=file.inode, variant=variant, created_ns=now_ns))
        except BaseException:
            file.close()
            raise
        passed("log.known")
        self.offset, self._tail, self._may_exceed = 0, b"", False
        return file

    def _new_name(self, variant: int) -> str:
        return rotation.current_name(self._services.host, variant, self.saved.kind)

    # rotation

    async def rotate_if_due(self) -> None:
        """Rotate if it is time, or a rotation was begun; a checkpoint must cover the whole file."""
        config, saved = self._services.config, self.saved
        now, limits = self._services.clock(), (config.rotate_bytes, config.rotate_age_s)
        if saved.rotating:
            await self.finish_rotation()
        elif saved.name and rotation.is_due(saved.offset, saved.created_ns, now, *limits):
            await self.rotate()

    async def rotate(self) -> None:
        """Give the file, which a checkpoint covers whole, its rotated name."""
        await self._cut_excess()
        saved = self.saved
        if not saved.offset:  # ours was lost, and a new one has begun
            return
        count = saved.rotations + 1
        name = rotation.rotated_name(saved.name or "", self._services.clock(), count)
        await self.commit(saved._replace(rotating=name, rotations=count))
        passed("rotate.noted")
        await self.finish_rotation()

    async def _cut_excess(self) -> None:
        """Cut what was written beyond the checkpoint before a crash: it comes again, and then to the next file."""
        if self._file is None:  # where it is gone, no new one is begun for it
            self._file = await self._admitted(self._reopened)
        if self._may_exceed:
            await self.sync(cut=True)

    async def finish_rotation(self) -> None:
        await self.close()
        saved, new = self.saved, self._directory / (self.saved.rotating or "")
        ours = (saved.inode, saved.offset, saved.tail)
        if await self._place.run(logfile.rename, self._services.fs, self.path, new, *ours):
            await self.leave()
            passed("rotate.left")
            self._services.rotated(new)
        else:  # the name is taken, or the file is not ours any more, which opening it finds out
            await self.commit(saved._replace(rotating=None))

    def _handle(self, file: LogFile) -> AsyncFileIO:
        # a LogFile has those methods of a file that are called through it
        return AsyncFileIO(cast(BinaryIO, file), asyncio.get_running_loop(), self._place)
