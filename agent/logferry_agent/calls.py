"""Blocking calls into the file system of logs and results: a few at a time, on threads of their own.

A call that hangs (a network file system whose server is gone) cannot be cancelled. After `PATIENCE_S` it gives its
place to others and whoever made it is told; it keeps its thread, of which there are `_THREADS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
# More at a time do not make a disk faster.
_PLACES = 4
# What may hang before the rest of that file system waits too.
_THREADS = 64
# Longer than a disk that is merely busy takes.
PATIENCE_S = 5.0


class Calls:
    """The threads and their places."""

    def __init__(self, name: str, places: int = _PLACES) -> None:
        self.executor = ThreadPoolExecutor(_THREADS, name)
        self.places = asyncio.Semaphore(places)

    def close(self) -> None:
        """Give up the threads; one that hangs is not waited for."""
        self.executor.shutdown(wait=False, cancel_futures=True)


class Place:
    """One caller's way to `Calls`: a context in which one call is made; `on_hang` is told when that does not return."""

    def __init__(self, calls: Calls, on_hang: Callable[[], None]) -> None:
        self.hangs = False
        self._calls, self._on_hang = calls, on_hang

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        async with self:
            return await asyncio.get_running_loop().run_in_executor(self._calls.executor, function, *arguments)

    async def __aenter__(self) -> None:
        await self._calls.places.acquire()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._give_way)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self.hangs:
            self._calls.places.release()
        self.hangs = False

    def _give_way(self) -> None:
        self.hangs = True
        self._calls.places.release()
        self._on_hang()
