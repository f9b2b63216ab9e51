"""What a producer can see of its node: who else logs there, and whether an agent serves it.

From the first, looked at each second or few, follows for how long each producer gathers events before it ships them.
"""

from __future__ import annotations

import os
import zlib
from itertools import islice

from logferry.layout import NodeDir, is_own_node_dir
from logferry.spool import lock_holder

_ALONE_S = 0.005
# All producers of a node together ship about 16 batches a second, until that would make one wait for too long: the
# agent's work for them, and its syncs' interrupts, are taken from the same processors as the jobs' own.
_SHARE_S = 0.06
_LONG_S = 0.5
# Some seven hundred that gather for so long are as many as an agent on two cores serves without delay.
_CROWD_SHARE_S, _LONGEST_S = 0.75 / 1000, 0.75
# Where the file system does not count them, no more are looked for: whoever has so many neighbours gathers for long.
_MANY = 16
# To look takes a sixth of what a batch costs the job, so no more than one batch in so many has it looked.
_LOOK_S, _BATCHES = 1.0, 8


class Company:
    """Knows for how long `producer` of `node` gathers events."""

    def __init__(self, node: NodeDir, producer: str) -> None:
        self._node = node
        self._look_at = self._batch_s = 0.0
        self._phase = zlib.crc32(producer.encode()) / (1 << 32)

    def batch_s(self, now: float, since_s: float) -> float:
        """Return that in seconds; `now` is monotonic, `since_s` how long ago the last batch was shipped.

        Of many that begin together each ships for the second time at a moment of its own, and stays there.
        """
        if now >= self._look_at:
            self._batch_s = batch_s(producers(self._node))
            self._look_at = now + max(_LOOK_S, _BATCHES * self._batch_s)
        return self._batch_s * self._phase if since_s > 2 * self._batch_s else self._batch_s


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
    if producers < 2:
        return _ALONE_S
    return min(max(min(_SHARE_S * producers, _LONG_S), _CROWD_SHARE_S * producers), _LONGEST_S)


def has_agent(node: NodeDir) -> bool:
    """Say whether an agent runs on the node, be it too busy to answer."""
    return is_own_node_dir(node.path) and lock_holder(node.lock) is not None
