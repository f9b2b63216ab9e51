"""A writer on a real journal in a directory of its own, and producers that exist only as records."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import msgpack

from logferry.checks import build
from logferry.layout import Home
from logferry_agent.agent_events import AgentEvents
from logferry_agent.config import AgentConfig
from logferry_agent.filters import Filters
from logferry_agent.fs import FileSystem
from logferry_agent.journal import EVENTS, HELLO, Entry, Journal
from logferry_agent.logset import RunLogs, host_blocks
from logferry_agent.state import State
from logferry_agent.steadiness import Steadiness
from logferry_agent.writer import Writer

START_NS = 1_753_880_400_123_456_789


def record(event: Any) -> bytes:
    raw = event if isinstance(event, bytes) else msgpack.packb(event)
    return b"\xce%b\xce%b%b" % (len(raw).to_bytes(4), zlib.crc32(raw).to_bytes(4), raw)


def event(
    name: str = "Step", time_ns: int = START_NS, level: int = 20, message: Any = None, **fields: Any
) -> list[Any]:
    return [time_ns, level, name, message, fields]


def _must_read(path: Path, error: Exception) -> NoReturn:
    raise AssertionError(f"{path} cannot be read") from error


class Rig:
    """One life of the writer half of an agent; several rigs on the same root are an agent that was restarted."""

    def __init__(self, root: Path, fs: FileSystem | None = None, host: str = "node7", **config: Any) -> None:
        (root / "node").mkdir(parents=True, exist_ok=True)
        (root / "home").mkdir(exist_ok=True)
        self.home, self.host = Home(root / "home"), host
        self.fs = fs or FileSystem()
        self.now = START_NS
        self.stepped_s = 0.0
        self.written: dict[str, int] = {}
        self.abouts: dict[str, dict[str, Any]] = {}
        self.sealed: list[str] = []
        self.dead: set[str] = set()
        self.bad: dict[str, bytes] = {}
        self.loop = asyncio.get_running_loop()
        self.durable = asyncio.Event()
        self.appended = self.synced = 0
        self.state = State(root / "node" / "state.db", self.now)
        self.journal = Journal(root / "node" / "journal", FileSystem(), self._on_durable, lambda: self.now)
        for name, row in self.journal.ledger.rows.items():
            self.abouts[name] = row.about or {}
        self.agent_events = AgentEvents(self.journal)
        self.config = build(AgentConfig, config)
        self.writer = Writer(
            journal=self.journal,
            about_of=self.abouts.get,
            alive=self._alive,
            state=self.state,
            fs=self.fs,
            home=self.home,
            host=host,
            config=self.config,
            filters=Filters(self.config, {}),
            clock=lambda: self.now,
            # Time passes as the clock says, but for what a test calls a step of the clock.
            steadiness=Steadiness(lambda: self.now, lambda: (self.now - START_NS) / 1e9 - self.stepped_s),
            on_written=self.written.update,
            on_sealed=self.sealed.extend,
            append_agent_event=self.agent_events.append,
            keep_bad=self.bad.__setitem__,
        )

    def _on_durable(self, entries: list[Entry], position: int) -> None:
        self.loop.call_soon_threadsafe(self.writer.durable_moved)

    def _alive(self, experiment: str, run: str) -> bool:
        runs = {(one["experiment_id"], one["run_id"]) for name, one in self.abouts.items() if name not in self.dead}
        return (experiment, run) in runs

    def hello(self, producer: str, run: str = "run1", experiment: str = "exp", **more: Any) -> None:
        about = {"experiment_id": experiment, "run_id": run, "host": self.host, "pid": 1, "spool": "file", **more}
        self.abouts[producer] = about
        self.journal.append([Entry(HELLO, producer, 0, 0, msgpack.packb(about))])

    def events(self, producer: str, first: int, *events: Any) -> None:
        payload = b"".join(map(record, events))
        self.journal.append([Entry(EVENTS, producer, first, len(events), payload)])

    def steps(self, producer: str, first: int, last: int, size: int = 10) -> None:
        """Append events numbered `first` to `last`, `size` in a record."""
        for start in range(first, last + 1, size):
            self.events(producer, start, *(event(i=i) for i in range(start, min(start + size, last + 1))))

    def seal(self, producer: str, emitted: int, **fields: Any) -> None:
        self.dead.add(producer)
        known = {"producer": producer, "emitted": emitted, "shed": {}, "end": "finished", "spool": "file"}
        self.agent_events.append(producer, event("logferry.seal", self.now, **{**known, **fields}))

    async def until(self, done: Callable[[], Any], deadline_s: float = 60) -> None:
        async with asyncio.timeout(deadline_s):
            while not done():  # noqa: ASYNC110 - what is waited for is on disk or in another thread
                await asyncio.sleep(0.005)

    async def quiet(self, deadline_s: float = 60) -> None:
        """Wait until everything that was appended is written and checkpointed."""
        await self.until(lambda: not self.journal.queued_bytes)
        left = await self.writer.drain(self.loop.time() + deadline_s)
        assert not left, left

    def run_logs(self, run: str = "run1", experiment: str = "exp") -> RunLogs:
        return RunLogs(experiment, run, self.home.run_logs(experiment, run))

    def raw(self, run: str = "run1") -> bytes:
        # As a reader of the product's reads, because files are compressed at any time.
        logs = self.run_logs(run)
        return b"".join(b"".join(host_blocks(logs, found, _must_read)) for found in logs.files().values())

    def lines(self, run: str = "run1") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw(run).splitlines()]

    def seqs(self, run: str = "run1") -> list[str]:
        return [line["seq"] for line in self.lines(run)]


@contextlib.asynccontextmanager
async def rig(root: Path, fs: FileSystem | None = None, host: str = "node7", **config: Any) -> AsyncIterator[Rig]:
    """Run a writer; leaving is as abrupt as a kill, except that threads end."""
    one = Rig(root, fs, host, **{"checkpoint_s": 0.05, **config})
    one.journal.start()
    task = asyncio.create_task(one.writer.run())
    try:
        yield one
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        one.journal.close(5)
        one.writer.close()
        one.state.close()
