"""How many running logs are open at a time: who opens one more first has the longest unused one closed."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Awaitable, Callable

_RETRY_S = 0.02
# So many wait for a sync at a time; all others wait for their turn to look for a file that can be closed.
_AT_ONCE = 16


class OpenFiles:
    """A count with a limit.

    Args:
        limit: how many may be open.
        close_one: closes one that can be closed; says whether there was one.

    """

    def __init__(self, limit: Callable[[], int], close_one: Callable[[], Awaitable[bool]]) -> None:
        self.count = 0
        self._limit, self._close_one = limit, close_one
        self._closed = asyncio.Event()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def admit(self) -> None:
        """Count one more, as soon as there is room for it."""
        async with self._turns:
            while self.count >= self._limit():
                self._closed.clear()
                if not await self._close_one():  # all are at work: one of them will be idle, or closed, soon
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._closed.wait(), _RETRY_S)
            self.count += 1

    def closed(self) -> None:
        self.count -= 1
        self._closed.set()


def allowed(wanted: int) -> int:
    """Return how many of the descriptors that this process may have are for running logs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft // 2))
