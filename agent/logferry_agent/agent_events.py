"""The agent's own events in the journal: seals, gap markers and the like, numbered so that replay gives equal lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from logferry.events import INFO
from logferry_agent.journal import Journal
from logferry_agent.ledger import AGENT_NAME
from logferry_agent.segment import AGENT, Entry


class AgentEvents:
    """Appends events to the journal that concern one producer's run."""

    def __init__(self, journal: Journal, clock_ns: Callable[[], int]) -> None:
        self._journal, self._clock_ns = journal, clock_ns
        self._next = journal.ledger.agent_next

    def append(
        self, producer: str, name: str, fields: dict[str, Any], level: int = INFO, message: str | None = None
    ) -> None:
        event = [self._clock_ns(), level, name, message, fields]
        payload = msgpack.packb({"producer": producer, "event": event})
        self._journal.append([Entry(AGENT, AGENT_NAME, self._next, 1, payload)])
        self._next += 1
