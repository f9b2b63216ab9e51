"""The agent's intake in this process, and a producer that speaks to it through a real socket."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from logferry import wire
from logferry_agent.fs import FileSystem
from logferry_agent.journal import Entry, Journal
from logferry_agent.producers import Producers
from logferry_agent.receiver import Hooks, Receiver
from support.journals import ABOUT, spool_records


class Intake:
    """Journal, producers and receiver, wired as the daemon wires them; `full_runs` are refused."""

    def __init__(self, root: Path, fs: FileSystem | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.address = f"ipc://{root}/agent.sock"
        self.full_runs: set[tuple[str, str]] = set()
        self.level: int | None = None
        self.checkpoints: list[tuple[str, str]] = []

        def on_durable(entries: list[Entry], _: int) -> None:
            loop.call_soon_threadsafe(self.receiver.take_durable, entries)

        self.journal = Journal(root / "node" / "journal", fs or FileSystem(), on_durable, lambda: 7, retry_s=0.01)
        self.producers = Producers(self.journal.ledger)
        hooks = Hooks(
            self.full_runs.__contains__, lambda *_: self.level, self._checkpoint, self._answer, lambda *_: None
        )
        self.receiver = Receiver(self.address, self.producers, self.journal, hooks)

    def _checkpoint(self, *run: str) -> None:
        self.checkpoints.append(run)  # type: ignore[arg-type]

    async def _answer(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"verb": verb, **arguments}


@asynccontextmanager
async def intake(root: Path, fs: FileSystem | None = None) -> AsyncIterator[Intake]:
    (root / "node").mkdir(exist_ok=True)
    built = Intake(root, fs)
    built.journal.start()
    built.receiver.start()
    try:
        yield built
    finally:
        built.receiver.stop()
        await asyncio.to_thread(built.journal.close)


async def until(condition: Callable[[], object], deadline_s: float = 20) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Client:
    """One connection, on which any number of producers may speak."""

    def __init__(self, address: str) -> None:
        self._context = zmq.asyncio.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(address)

    async def say(self, frame: wire.Frame) -> None:
        await self.socket.send_multipart(wire.encode(frame))

    async def hear(self) -> wire.Frame | wire.Bad:
        return wire.decode(await asyncio.wait_for(self.socket.recv_multipart(), 20))

    async def greet(self, producer: str, acked: int = 0, **about: Any) -> wire.Welcome:
        await self.say(wire.Hello(producer, acked, ABOUT | about))
        welcome = await self.hear()
        assert isinstance(welcome, wire.Welcome), welcome
        return welcome

    async def acked(self, producer: str, number: int) -> wire.Ack:
        """Wait for an ack of at least `number`."""
        while True:
            frame = await self.hear()
            assert isinstance(frame, wire.Ack), frame
            if frame.producer == producer and frame.durable >= number:
                return frame

    def close(self) -> None:
        self.socket.close()
        self._context.term()


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Client]:
    one = Client(address)
    try:
        yield one
    finally:
        one.close()


def batch(producer: str, first: int, count: int = 1, payload: bytes = b"") -> wire.Batch:
    payload = payload or spool_records(*([n, 20, "E", None, {"n": n}] for n in range(first, first + count)))
    return wire.Batch(producer, first, count, zlib.crc32(payload), payload)
