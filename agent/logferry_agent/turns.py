"""When each output has its turn: to write what has come for it, and to make safe what it has written.

Alone, an output writes at once and syncs each `checkpoint_s`, so that whoever follows a log sees its lines soon. Each
turn costs hand-overs between threads, however little it brings, and each sync one more. So in company outputs let
more gather between two turns, and where that is long, a turn writes and syncs in one go. Who has much to write, and
who is waited for, is served at once in any company.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from logferry_agent.output import Output

# All outputs together have about 500 turns a second, until that would make one wait for too long: in such a crowd
# producers gather for half a second or more, and what comes is hardly ever less than what came in all that time.
_SHARE_S = 0.002
_LONGEST_S = 0.2
_COUNTED_S = 1.0
# Where no more turns than this lie between two syncs, each of them syncs what it has written.
_TURNS_A_SYNC = 5
# So much is worth a turn of its own: about a millisecond of rendering.
_MUCH_BYTES = 32 << 10


class Turns:
    """Gives turns until cancelled.

    Args:
        checkpoint_s: how long what is written may be unsynced.
        act: has an output write, and sync if told to; raises nothing.

    """

    def __init__(self, checkpoint_s: Callable[[], float], act: Callable[[Output, bool], Awaitable[None]]) -> None:
        self._checkpoint_s, self._act = checkpoint_s, act
        self._company, self._had_turns = 0, set[Output]()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    self._company, self._had_turns = len(self._had_turns), set()
                    await asyncio.sleep(_COUNTED_S)
            finally:
                self._group = None

    def serve(self, output: Output) -> None:
        """See to it that an output that has something to do gets its turn; to be said again when that is more."""
        if output.is_served:
            return
        if not output.has_work:
            output.is_hurried = False
            return
        loop = asyncio.get_running_loop()
        due_s = self._due_s(output)
        if due_s <= loop.time():
            self._begin(output)
        elif output.next_turn is None or due_s < output.next_turn.when():
            if output.next_turn:
                output.next_turn.cancel()
            output.next_turn = loop.call_at(due_s, self._begin, output)

    def hurry(self, outputs: Iterable[Output]) -> None:
        """Have outputs write and sync now."""
        for output in outputs:
            output.is_hurried = True
            self.serve(output)

    def _pause_s(self) -> float:
        company = max(self._company, len(self._had_turns))
        return min(company * _SHARE_S, _LONGEST_S, self._checkpoint_s() / 2)

    def _due_s(self, output: Output) -> float:
        if output.is_hurried or output.backlog.in_journal or output.backlog.queued_bytes >= _MUCH_BYTES:
            return 0
        sync_s = self._sync_due_s(output)
        return min(sync_s, output.last_turn_s + self._pause_s()) if output.backlog else sync_s

    def _sync_due_s(self, output: Output) -> float:
        return output.unsynced_since_s + self._checkpoint_s()

    def _begin(self, output: Output) -> None:
        if output.next_turn:
            output.next_turn.cancel()
            output.next_turn = None
        if self._group and not output.is_served:
            output.is_served, output.last_turn_s = True, asyncio.get_running_loop().time()
            self._had_turns.add(output)
            self._group.create_task(self._turn(output))

    async def _turn(self, output: Output) -> None:
        gathers_long = (
            self._pause_s() * _TURNS_A_SYNC >= self._checkpoint_s() and output.backlog.queued_bytes < _MUCH_BYTES
        )
        is_due = self._sync_due_s(output) <= output.last_turn_s
        sync, output.is_hurried = output.is_hurried or is_due or gathers_long, False
        try:
            await self._act(output, sync)
        except asyncio.CancelledError:
            raise
        except BaseException:  # which ends the group, a moment from now: it takes no more turns
            self._group = None
            raise
        finally:
            output.is_served = False
        self.serve(output)
