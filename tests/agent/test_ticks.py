"""What no event announces to the agent, whose parts are put together here in this process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from logferry import wire
from logferry.layout import prepare_node_dir
from logferry.settings import Settings
from logferry_agent import daemon, receiver
from logferry_agent.config import AgentConfig
from logferry_agent.daemon import Agent
from support.fakefs import FakeFileSystem
from support.intake import Client, batch, client, until

A = "aaaaaaaa"
Scene = Callable[[Agent, Client], Awaitable[None]]


class HangingJournal(FakeFileSystem):
    """From `hang` on the journal's syncs do not end before they `may_end`, and then fail."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def hang(self) -> None:
        self.fail("fdatasync", errno.EIO, path="/journal/", times=10**9)
        self.may_end.clear()

    def fdatasync(self, fd: int) -> None:
        if "/journal/" in str(self._open[fd]) and not self.may_end.is_set():
            self.hangs.set()
            self.may_end.wait(20)
        super().fdatasync(fd)


@contextlib.asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Agent]:
    node = prepare_node_dir(root / "node")
    settings = Settings(node.path, root / "home")
    daemon._prepare(settings, node)
    agent = Agent(settings, AgentConfig(), node)
    served = asyncio.create_task(agent.run(1))
    try:
        yield agent
    finally:
        agent._stop.set()
        await served


def play(root: Path, scene: Scene) -> None:
    async def run() -> None:
        async with serving(root) as agent, client(f"ipc://{root}/node/agent.sock") as one:
            await asyncio.wait_for(scene(agent, one), 30)

    asyncio.run(run())


def test_a_producer_that_could_not_be_told_hears_as_soon_as_it_takes_frames_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(agent: Agent, one: Client) -> None:
        await one.greet(A, spool="memory", pid=os.getpid())
        with monkeypatch.context() as full:
            full.setattr(agent._receiver, "_send", lambda *_: False)
            await one.say(batch(A, 1))
            row = agent._producers.get(A)
            await until(lambda: row and row.written == 1)
            await until(lambda: agent._receiver._telling is None)
        assert await one.acked(A, 1) == wire.Ack(A, 1, 1)

    play(root, scene)


def test_an_agent_that_waits_for_its_journal_answers_once_that_is_held(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = HangingJournal()
    monkeypatch.setattr(daemon, "FileSystem", lambda: fs)
    monkeypatch.setattr(receiver, "QUEUE_BYTES", 1)

    async def scene(agent: Agent, one: Client) -> None:
        await one.greet(A, spool="memory", pid=os.getpid())
        await until(lambda: agent._journal.durable and not agent._journal.queued_bytes)  # else the batch finds no room
        fs.hang()
        await one.say(batch(A, 1))
        await until(fs.hangs.is_set)
        await one.say(wire.Ask("status", {}))
        await until(lambda: agent._receiver._paused)
        fs.may_end.set()
        answer = await one.hear()
        assert isinstance(answer, wire.Answer)
        assert [problem["what"] for problem in answer.arguments["held"]] == ["journal"]
        fs.heal()
        await one.acked(A, 1)

    play(root, scene)
