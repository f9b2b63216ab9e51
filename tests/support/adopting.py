"""Adoption on a real journal, with spools of real processes that died."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack

from logferry_agent.adoption import Adoption
from logferry_agent.agent_events import AgentEvents
from logferry_agent.exits import Exits
from logferry_agent.journal import AGENT, EVENTS
from support.intake import Intake, intake
from support.journals import entries

Scene = Callable[[Intake, Adoption], Awaitable[None]]


def play(root: Path, scene: Scene, settled: Callable[[], int] = lambda: 0) -> None:
    async def run() -> None:
        with ThreadPoolExecutor(1) as executor, closing(Exits()) as exits:
            async with intake(root) as built:
                adoption = Adoption(
                    root / "node" / "spool",
                    built.producers,
                    built.journal,
                    AgentEvents(built.journal),
                    built.full_runs.__contains__,
                    settled,
                    built.receiver.reachable,
                    exits,
                    lambda: 7,
                    executor,
                )
                await asyncio.wait_for(scene(built, adoption), 30)

    asyncio.run(run())


def numbers(built: Intake, name: str) -> list[int]:
    found = [entry for entry in entries(built.journal) if entry.kind == EVENTS and entry.producer == name]
    return [number for entry in found for number in range(entry.first, entry.first + entry.events)]


def seals(built: Intake) -> list[dict[str, Any]]:
    said = [msgpack.unpackb(entry.payload)["event"] for entry in entries(built.journal) if entry.kind == AGENT]
    return [event[4] for event in said if event[2] == "logferry.seal"]
