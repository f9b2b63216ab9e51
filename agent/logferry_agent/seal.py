"""What the seal of a producer says: how many events, what was shed, and how it ended. No I/O.

A producer's own last record says how it ended. Where there is none, or it only takes the end of the process for a good
one because nothing else was to be seen from inside (`implied`), what the agent has seen of the process counts. The
result of a run whose owner this is says the same, see settle.py.
"""

from __future__ import annotations

from typing import Any

from logferry.results import COMPLETED, FAILED, KILLED
from logferry_agent.producers import Producer

# Python's own exit status after an error in its cleanup, such as that of a pipe that nobody reads any more.
_CLEANUP_FAILED = 120

End = dict[str, Any]


def speaks_for_itself(end: End | None) -> bool:
    """Say whether a producer's last record tells how it ended, so that nobody need look at its process."""
    return end is not None and not end.get("implied")


def ending(end: End | None, seen: dict[str, Any], otherwise: str) -> End:
    """Return `end`, `status` and `exit` of a seal.

    Args:
        end: the producer's last record.
        seen: what the kernel says, see exits.py.
        otherwise: what its end is called where it left no last record.

    """
    if end is None:
        return {"end": otherwise, "status": KILLED, "exit": {"reason": otherwise, **seen}}
    said = {"end": "finished", **{key: end.get(key) for key in ("status", "exit")}}
    if end.get("implied") and (seen.get("code") or "signal" in seen):
        # A crash after the run was over, while the interpreter was being taken down, leaves the run what it was.
        over = seen.get("code", _CLEANUP_FAILED) == _CLEANUP_FAILED
        return said | {"status": COMPLETED if over else FAILED, "exit": seen, "implied": True}
    return said


def seal_fields(one: Producer, shed: dict[str, int], end: End) -> dict[str, Any]:
    fields: dict[str, Any] = {"producer": one.id, "emitted": one.next - 1, "shed": shed, "end": end["end"]}
    fields |= {"spool": one.about["spool"], "pid": one.about["pid"]}
    # Its row may be gone before the run's result can be written.
    fields |= {"owner": True} if one.about.get("owner") else {}
    fields |= {"rank": one.about["rank"]} if one.about.get("rank") is not None else {}
    return fields | {key: value for key, value in end.items() if value is not None}
