"""What the parts of the output half need of each other, so that each can be built with a stand-in for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from logferry_agent.backlog import Memory
from logferry_agent.calls import Calls
from logferry_agent.chunk import Renderer
from logferry_agent.config import AgentConfig
from logferry_agent.fs import FileSystem
from logferry_agent.open_files import OpenFiles
from logferry_agent.segment import Damage, Record
from logferry_agent.state import Checkpoint, Key, Unsettled


class ReadableJournal(Protocol):
    """What the writer needs of the journal."""

    @property
    def durable(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    def read(self, position: int, limit_bytes: int) -> tuple[list[Record | Damage], int]: ...
    def trim(self, position: int) -> None: ...


class Services(Protocol):
    """What outputs need of their surroundings; the writer."""

    fs: FileSystem
    logs: Path
    host: str
    config: AgentConfig
    renderer: Renderer
    rendering: asyncio.Lock
    calls: Calls
    memory: Memory
    open_files: OpenFiles
    clock: Callable[[], int]

    async def read(self, position: int, limit_bytes: int) -> tuple[list[Record | Damage], int]: ...
    async def commit(self, checkpoint: Checkpoint, unsettled: Unsettled | None) -> None: ...
    def caught_up(self) -> bool: ...
    def lost(self, key: Key, path: Path) -> None: ...
    def rotated(self, path: Path) -> None: ...
    def keep_bad(self, name: str, data: bytes) -> None: ...
