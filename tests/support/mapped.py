"""A run's hot object on a buffer of its own, without a thread: what was logged is read back at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from logferry.buffer import Buffer
from logferry.events import DEBUG
from logferry.hot import Hot
from logferry.logger import Logger, new_packer


class Logged:
    """`run` writes into `buffer`; `events` returns what was written since the last time."""

    def __init__(
        self, directory: Path | None = None, clock: Callable[[], int] = lambda: 7, capacity: int = 16 << 20
    ) -> None:
        self.hot = Hot()
        self.hot.level, self.hot.busy, self.hot.clock, self.hot.pack = DEBUG, False, clock, new_packer()
        self.buffer = Buffer(directory, capacity, self.hot)
        self.run = Logger(self.hot, {})

    def events(self) -> list[list[Any]]:
        found: list[list[Any]] = []
        while (unsent := self.buffer.read(1 << 20)) is not None:
            unpacker = msgpack.Unpacker(strict_map_key=False)
            unpacker.feed(bytes(unsent.segment.view()[unsent.start : unsent.stop]))
            found += list(unpacker)[2::3]
        return found

    def fields(self) -> dict[str, Any]:
        """Return the fields of the only event."""
        (event,) = self.events()
        assert len(msgpack.packb(event)) <= 1 << 20
        fields: dict[str, Any] = event[4]
        return fields
