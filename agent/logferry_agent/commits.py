"""Group commit of checkpoints: whoever comes while a transaction is under way shares the next one.

What a transaction costs hardly depends on how many share it: where many have something to commit, a moment passes
between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from logferry_agent.state import Checkpoint, State, Unsettled

_CROWD, _GATHER_S = 6, 0.02


class Commits:
    """Commits checkpoints together with the position from which a restart reads the journal."""

    def __init__(self, state: State, least_position: Callable[[], int]) -> None:
        self._state = state
        self._least_position = least_position
        self._waiting: list[tuple[Checkpoint, Unsettled | None, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def add(self, checkpoint: Checkpoint, unsettled: Unsettled | None) -> None:
        """Return once the checkpoint is committed.

        Raises:
            sqlite3.Error: it is not.

        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((checkpoint, unsettled, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            checkpoints = [checkpoint for checkpoint, _, _ in group]
            unsettled = [found for _, found, _ in group if found]
            try:
                await self._state.call(self._state.commit, checkpoints, unsettled, self._least_position())
            except Exception as error:  # each of those who wait gets it, and knows what to do
                _settle(group, error)
            else:
                _settle(group, None)
            if len(group) >= _CROWD:
                await asyncio.sleep(_GATHER_S)


def _settle(group: list[tuple[Checkpoint, Unsettled | None, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, _, done in group:
        if done.cancelled():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
