"""Blocking calls into the file system of logs and results: a few at a time, on threads of their own.

A call that hangs (a network file system whose server is gone) cannot be cancelled. After `PATIENCE_S` it gives its
place to others and whoever made it is told; it keeps its thread, of which there are `_THREADS`.

A thousand outputs make thousands of calls a second that take microseconds each, so what is around a call counts: the
threads take calls from one queue without asking the loop, and what they have done by the time that the loop looks
reaches it in one go. With `concurrent.futures` each call took two futures, a timer and two hand-overs of the
interpreter, and a checkpoint of a thousand files took seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, TypeVar

_T = TypeVar("_T")
# Syncs that are under way at once share the file system's commits; more than this make no disk faster.
_PLACES = 8
# What may hang before the rest of that file system waits too.
_THREADS = 64
# Longer than a disk that is merely busy takes.
PATIENCE_S = 5.0
_LOOKS = 5


@dataclass(slots=True, eq=False)
class _Call:
    place: Place
    function: Callable[[], Any]
    future: asyncio.Future[Any]
    began_s: float = 0.0
    result: Any = None
    error: BaseException | None = None


class Calls:
    """The threads and their places; `hanging` calls have lost theirs."""

    def __init__(self, name: str) -> None:
        self.hanging = 0
        self._name = name
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._running: set[_Call] = set()
        self._done: deque[_Call] = deque()
        self._is_told = False  # that something is done
        self._threads: list[threading.Thread] = []
        self._count = 0  # of threads that are not told to end
        self._waiting = 0  # for their results
        self._look: asyncio.TimerHandle | None = None

    def add(self, call: _Call) -> None:
        self._waiting += 1
        if self._look is None:
            self._look = call.future.get_loop().call_later(PATIENCE_S / _LOOKS, self._look_for_hangs)
        self._queue.put(call)
        self._have_threads()

    def close(self) -> None:
        """Give up the threads and what waits for one; a call that hangs is not waited for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in range(self._count):
            self._queue.put(None)
        self._count = 0
        if self._look:
            self._look.cancel()

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in self._threads:
            thread.join()

    def _have_threads(self) -> None:
        if self._count - self.hanging < _PLACES and self._count < _THREADS:
            self._count += 1
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            call.began_s = monotonic()
            self._running.add(call)
            try:
                call.result = call.function()
            except BaseException as error:
                call.error = error
            self._running.discard(call)
            self._done.append(call)
            # Set before anything is taken from `_done`: either the loop is told, or it is yet to look.
            if not self._is_told:
                self._is_told = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
                    call.future.get_loop().call_soon_threadsafe(self._deliver)

    # on the loop

    def _deliver(self) -> None:
        self._is_told = False
        while self._done:
            call = self._done.popleft()
            self._waiting -= 1
            if call.place.hangs:
                call.place.hangs = False
                self.hanging -= 1
                self._count -= 1
                self._queue.put(None)  # another thread had its place
            if call.future.done():  # cancelled
                continue
            if call.error is None:
                call.future.set_result(call.result)
            else:
                call.future.set_exception(call.error)

    def _look_for_hangs(self) -> None:
        late_s = monotonic() - PATIENCE_S
        for call in list(self._running):
            if call.began_s <= late_s and not call.place.hangs:
                call.place.hangs = True
                self.hanging += 1
                self._have_threads()
                call.place.on_hang()
        again = self._waiting > 0
        self._look = asyncio.get_running_loop().call_later(PATIENCE_S / _LOOKS, self._look_for_hangs) if again else None


class Place(Executor):
    """One caller's way to `Calls`, one call at a time; `on_hang` is told when that does not return.

    It is the executor of aiofiles: `run_in_executor` hands on a future of asyncio's as it is.
    """

    def __init__(self, calls: Calls, on_hang: Callable[[], None]) -> None:
        self.hangs = False
        self.on_hang = on_hang
        self._calls = calls

    def submit(  # type: ignore[override]
        self, function: Callable[..., _T], /, *arguments: Any, **named: Any
    ) -> asyncio.Future[_T]:
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._calls.add(_Call(self, partial(function, *arguments, **named), future))
        return future

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await self.submit(function, *arguments)
