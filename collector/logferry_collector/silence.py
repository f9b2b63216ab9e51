"""Hosts whose agent fell silent: their unfinished runs are shown as LOST until it is back.

Agents touch `HOME/agents/<host>` every minute. A host that has no such file never had an agent on this home, and its
runs are judged by the age of their results alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from logferry.layout import safe_component

LOST = "LOST"
SILENT_NS = 300 * 1_000_000_000


def silent_hosts(agents: Path, hosts: Iterable[str], now_ns: int) -> tuple[str, ...]:
    """Return those of the hosts whose agent was not seen for five minutes."""
    return tuple(host for host in hosts if now_ns - _seen_ns(agents, host) > SILENT_NS)


def _seen_ns(agents: Path, host: str) -> int:
    try:
        return (agents / safe_component(host, "host")).stat().st_mtime_ns
    except (OSError, ValueError):  # a document may say anything
        return 0
