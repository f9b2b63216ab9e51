"""The agent's own events in the journal: seals, gap markers and the like, numbered so that replay gives equal lines."""

from __future__ import annotations

from typing import Any

import msgpack

from logferry_agent.journal import AGENT, Entry, Journal
from logferry_agent.ledger import AGENT_NAME


class AgentEvents:
    """Appends events to the journal, each about one producer's run."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next = journal.ledger.agent_next

    def append(self, producer: str, event: list[Any]) -> None:
        """Append `[time_ns, level, name, message, fields]`."""
        payload = msgpack.packb({"producer": producer, "event": event})
        self._journal.append([Entry(AGENT, AGENT_NAME, self._next, 1, payload)])
        self._next += 1
