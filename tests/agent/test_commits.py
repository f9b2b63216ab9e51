"""Group commit of checkpoints, on a database that notes what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from logferry_agent import commits
from logferry_agent.commits import Commits
from logferry_agent.state import Checkpoint, State


class Database:
    """Has `transactions` of so many checkpoints; `error` is what the next one ends with."""

    def __init__(self) -> None:
        self.transactions: list[int] = []
        self.error: Exception | None = None

    def commit(self) -> None: ...

    async def call(self, _: Callable[..., Any], checkpoints: list[Checkpoint], *__: object) -> None:
        self.transactions.append(len(checkpoints))
        error, self.error = self.error, None
        await asyncio.sleep(0)
        if error:
            raise error


async def _added(to: Commits, count: int) -> None:
    """Add so many checkpoints, each in a turn of the loop of its own; return once all are committed."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(to.add(Checkpoint("exp", f"run{number}", "jsonl"), None)))
        for _ in range(5):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)


def _transactions(first: int, then: int) -> list[int]:
    """Return how many checkpoints each transaction had, of some that came together and some that came singly."""

    async def main() -> list[int]:
        database = Database()
        one = Commits(cast(State, database), lambda: 0)
        await asyncio.gather(*(one.add(Checkpoint("exp", f"run{n}", "jsonl"), None) for n in range(first)))
        await _added(one, then)
        return database.transactions

    return asyncio.run(main())


def test_after_a_transaction_that_many_share_others_gather_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_GATHER_S", 0.2)
    assert _transactions(commits._CROWD, 3) == [commits._CROWD, 3]


def test_where_few_share_transactions_nobody_waits_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_GATHER_S", 60)
    assert _transactions(commits._CROWD - 1, 3) == [commits._CROWD - 1, 1, 1, 1]


def test_what_a_transaction_fails_with_reaches_each_of_those_who_share_it_and_nobody_else() -> None:
    async def main() -> None:
        database = Database()
        one = Commits(cast(State, database), lambda: 0)
        database.error = error = OSError("no space")
        adding = [one.add(Checkpoint("exp", f"run{n}", "jsonl"), None) for n in range(3)]
        assert await asyncio.gather(*adding, return_exceptions=True) == [error] * 3
        await _added(one, 1)

    asyncio.run(main())
