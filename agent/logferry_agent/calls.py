"""Blocking calls into the file system of logs and results: a few at a time, on threads of their own.

A call that hangs (a network file system whose server is gone) cannot be cancelled. After `PATIENCE_S` it gives its
place to others and whoever made it is told; it keeps its thread, of which there are `_THREADS`.

A thousand outputs make thousands of calls a second that take microseconds each, so what is around a call counts: each
hand-over from thread to thread costs more than most calls. So all that one turn of the loop calls for is handed over
at its end, to one thread; another takes part where calls still wait after a moment, then two more, and so on. A
thread takes only what it calls at once, so one that hangs has no other's call. What is done by the time that there is
nothing to call any more, or after a moment, reaches the loop in one go.

A call may have a second step, as a write has its sync: that waits until no first step does, because syncs share what
the file system has to do where all that is to be synced was written before the first of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# Syncs that are under way at once share the file system's commits; more than this make no disk faster.
_PLACES = 8
# What may hang before the rest of that file system waits too.
_THREADS = 64
# Longer than a disk that is merely busy takes.
PATIENCE_S = 5.0
_LOOKS = 5
# As long as a hundred calls take on a disk that is not busy, which are what a crowd of a thousand calls for at a time.
_MOMENT_S = 0.03


@dataclass(slots=True, eq=False)
class _Call:
    place: Place
    future: asyncio.Future[Any]
    function: Callable[[], Any]
    then: Callable[[], Any] | None = None
    began_s: float = 0.0
    result: Any = None
    error: BaseException | None = None


class Calls:
    """The threads and their places; `hanging` calls have lost theirs."""

    def __init__(self, name: str) -> None:
        self.hanging = 0
        self._name = name
        self._is_refused = False  # a thread, by the system
        self._new: list[_Call] = []  # in this turn of the loop
        self._first: deque[_Call] = deque()  # those whose first step, or only one, is next
        self._second: deque[_Call] = deque()
        self._running: set[_Call] = set()
        self._done: deque[_Call] = deque()
        self._is_told = False  # that something is done
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()  # one for a thread: to look for calls, or to end
        self._at_work: set[threading.Thread] = set()
        self._threads: list[threading.Thread] = []
        self._count = 0  # of threads that are not told to end
        self._waiting = 0  # for their results
        self._look: asyncio.TimerHandle | None = None
        self._help: asyncio.TimerHandle | None = None

    def add(self, call: _Call) -> None:
        if not self._new:
            self._loop = call.future.get_loop()
            self._loop.call_soon(self._hand_over)
        self._new.append(call)

    def close(self) -> None:
        """Give up the threads and what waits for one; a call that hangs is not waited for."""
        for calls in (self._new, self._first, self._second):
            calls.clear()
        for _ in range(self._count):
            self._orders.put(False)
        self._count = 0
        for timer in (self._look, self._help):
            if timer:
                timer.cancel()

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in self._threads:
            thread.join()

    def _order(self) -> None:
        """Have one more thread look for calls, if there is one or may be."""
        if len(self._at_work) < self._count or self._has_started():
            self._orders.put(True)

    def _has_started(self) -> bool:
        """Start one more thread, if there may be one."""
        if self._count - self.hanging >= _PLACES or self._count >= _THREADS:
            return False
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}")
        try:
            thread.start()
        except RuntimeError as error:  # it is tried again while calls wait
            if not self._is_refused:
                _log.error("files wait, because the system refuses a thread (%s): raise its limit of processes", error)
            self._is_refused = True
            return False
        self._is_refused = False
        self._count += 1
        self._threads.append(thread)
        return True

    # on the threads

    def _work(self) -> None:
        me = threading.current_thread()
        while self._orders.get():
            self._at_work.add(me)
            tell_s = monotonic() + _MOMENT_S
            while call := self._next():
                self._make(call)
                if call.began_s > tell_s:
                    self._tell()
                    tell_s = call.began_s + _MOMENT_S
            self._at_work.discard(me)
            self._tell()
            if self._first:  # handed over since, when this one was at work
                self._orders.put(True)

    def _next(self) -> _Call | None:
        for calls in (self._first, self._second):
            with contextlib.suppress(IndexError):
                return calls.popleft()
        return None

    def _make(self, call: _Call) -> None:
        call.began_s = monotonic()
        self._running.add(call)
        try:
            call.result = call.function()
        except BaseException as error:
            call.error, call.then = error, None
        self._running.discard(call)
        if call.then:
            call.function, call.then = call.then, None
            self._second.append(call)
        else:
            self._done.append(call)

    def _tell(self) -> None:
        # Set before anything is taken from `_done`: either the loop is told, or it is yet to look.
        if self._done and not self._is_told:
            self._is_told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
                self._loop.call_soon_threadsafe(self._deliver)

    # on the loop

    def _hand_over(self) -> None:
        if not self._new:
            return
        self._waiting += len(self._new)
        self._first += self._new
        self._new.clear()
        if self._help is None:
            self._help = self._loop.call_later(_MOMENT_S, self._call_for_help)
        if self._look is None:
            self._look = self._loop.call_later(PATIENCE_S / _LOOKS, self._look_for_hangs)
        # One whose call takes long does not come to these soon.
        long_s = monotonic() - _MOMENT_S
        if len(self._at_work) <= sum(call.began_s < long_s for call in list(self._running)):
            self._order()

    def _call_for_help(self) -> None:
        """Have as many again take part, if calls still wait: those at work may be in one that takes long."""
        self._deliver()  # what they have done before it
        if self._first or self._second:
            for _ in range(max(1, len(self._at_work))):
                self._order()
        again = self._waiting > self.hanging
        self._help = self._loop.call_later(_MOMENT_S, self._call_for_help) if again else None

    def _deliver(self) -> None:
        self._is_told = False
        while self._done:
            call = self._done.popleft()
            self._waiting -= 1
            if call.place.hangs:
                call.place.hangs = False
                self.hanging -= 1
                self._count -= 1
                self._orders.put(False)  # another thread had its place
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
                call.place.on_hang()
        again = self._waiting > 0
        self._look = self._loop.call_later(PATIENCE_S / _LOOKS, self._look_for_hangs) if again else None


class Caller(Protocol):
    """Whoever has a place; `on_hang` is called when its call does not return."""

    def on_hang(self) -> None: ...


class Place(Executor):
    """One caller's way to `Calls`, one call at a time.

    It is the executor of aiofiles: `run_in_executor` hands on a future of asyncio's as it is. It does not keep its
    caller, which keeps it: a thousand outputs that were dropped would stay until the next collection, and an agent at
    rest has none.
    """

    def __init__(self, calls: Calls, caller: Caller) -> None:
        self.hangs = False
        self._calls = calls
        self._caller = weakref.ref(caller)

    def on_hang(self) -> None:
        if (caller := self._caller()) is not None:
            caller.on_hang()

    def submit(  # type: ignore[override]
        self, function: Callable[..., _T], /, *arguments: Any, **named: Any
    ) -> asyncio.Future[_T]:
        return self._submitted(partial(function, *arguments, **named))

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await self.submit(function, *arguments)

    async def run_both(self, first: Callable[[], Any], then: Callable[[], Any]) -> None:
        """Call `first`, and if that raises nothing `then`, once no other call waits for its first step."""
        await self._submitted(first, then)

    def _submitted(self, function: Callable[[], Any], then: Callable[[], Any] | None = None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.add(_Call(self, future, function, then))
        return future
