"""What a producer can see of its node: who else logs there, and whether an agent serves it.

From the first, looked at each second or few, follows for how long each producer gathers events before it ships them,
and at which moments, which it shares with some others.
"""

from __future__ import annotations

import os
import zlib
from itertools import islice

from logferry.layout import NodeDir, is_own_node_dir
from logferry.spool import lock_holder

_ALONE_S = 0.005
# A batch costs the agent several hand-overs and syncs, whose work and interrupts are taken from the same processors as
# the jobs' own; what comes together costs little more. So some ship together, at moments of the clock. These times
# divide each other, and so do the shares of them: who has not seen the last ones come still meets the others.
_TWO_S, _FOUR_S, _LONG_S = 0.125, 0.25, 0.5
_TOGETHER = 16
# More than so many that gather for half a second are more than an agent on two cores serves without delay.
_CROWD, _LONGEST_S = 700, 0.75
# Where the file system does not count them, no more are looked for: whoever has so many neighbours gathers for long.
_MANY = 16
# To look takes a sixth of what a batch costs the job, so no more than one batch in so many has it looked.
_LOOK_S, _BATCHES = 1.0, 8


class Company:
    """Knows when `producer` of `node` ships."""

    def __init__(self, node: NodeDir, producer: str) -> None:
        self._node = node
        self._look_at = self._batch_s = self._phase_s = 0.0
        self._share = zlib.crc32(producer.encode())

    def next_batch_at(self, now: float) -> float:
        """Return when it is this producer's turn again, in monotonic seconds, which all of a node share."""
        if now >= self._look_at:
            count = producers(self._node)
            self._batch_s = batch_s(count)
            moments = 1 << max(0, (count // _TOGETHER).bit_length() - 1)
            self._phase_s = self._share % moments / moments * self._batch_s
            self._look_at = now + max(_LOOK_S, _BATCHES * self._batch_s)
        return (int((now - self._phase_s) / self._batch_s) + 1) * self._batch_s + self._phase_s


def producers(node: NodeDir) -> int:
    """Return how many producers have a spool on the node; at most 16 where the file system does not count them.

    A name with a dot is no producer's: it is being made or removed, or could not be read and is kept. Whether the
    others live is not asked: closing the lock file of another run of this process would drop its lock.
    """
    try:
        links = os.stat(node.spool).st_nlink - 2  # negative where the file system does not count them
        if links == 1 or links >= _MANY:
            return links
        with os.scandir(node.spool) as entries:
            return max(1, sum(not entry.name.startswith(".") for entry in islice(entries, _MANY)))
    except OSError:
        return 1


def batch_s(producers: int) -> float:
    """Return for how long a producer gathers events, in seconds, where its node has so many producers."""
    if producers < 5:
        return _ALONE_S if producers < 2 else _TWO_S if producers == 2 else _FOUR_S
    return _LONG_S if producers <= _CROWD else _LONGEST_S


def has_agent(node: NodeDir) -> bool:
    """Say whether an agent runs on the node, be it too busy to answer."""
    return is_own_node_dir(node.path) and lock_holder(node.lock) is not None
