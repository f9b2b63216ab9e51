"""A node's writer that dies and lives on, held to one rendering of all that was ever appended to its journal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logferry.checks import build
from logferry_agent import output, upkeep, writer
from logferry_agent.chunk import Renderer
from logferry_agent.config import AgentConfig
from logferry_agent.content import blocks
from logferry_agent.filters import Filters
from logferry_agent.journal import Entry, Record
from logferry_agent.prune import pruned
from logferry_agent.rotation import in_order
from logferry_agent.state import Key
from logferry_agent.verify import verify_run
from support.fakefs import Crash, FakeFileSystem
from support.writerrig import START_NS, Rig, rig

RUNS = ("run1", "run2")


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Have the writer try again at once, write small pieces, and compress what is small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_STEP_BYTES", 3000)
        patch.setattr(writer, "_RETRY_S", 0.002)
        patch.setattr(upkeep, "_EVERY_S", 0.02)
        patch.setattr(upkeep, "_WORTH_COMPRESSING_BYTES", 100)
        yield


class WriterNode:
    """A directory with a writer in it that dies and lives on, and all that was ever appended to its journal."""

    def __init__(self, root: Path, fs: FakeFileSystem, **config: Any) -> None:
        self.root, self.fs, self.config = root, fs, {"checkpoint_s": 60, "rotate_bytes": 4096, **config}
        self.now = START_NS
        self.entries: list[tuple[str, Entry]] = []
        self.runs: dict[str, str] = {}
        self.sent: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.loop = asyncio.new_event_loop()
        self.one: Rig
        self.is_up = False

    def live(self) -> None:
        self.loop.run_until_complete(self._live())

    async def _live(self) -> None:
        self._life = rig(self.root, self.fs, **self.config)
        self.one = await self._life.__aenter__()
        self.is_up = True
        self.one.now = self.now
        self.one.dead |= {name for name, row in self.one.journal.ledger.rows.items() if row.sealed}
        append = self.one.journal.append

        def noted(entries: list[Entry]) -> None:
            append(entries)
            self.entries += [(self._run_of(entry), entry) for entry in entries if entry.kind != 1]

        self.one.journal.append = noted

    def _run_of(self, entry: Entry) -> str:
        producer = entry.producer if entry.producer != "agent" else next(p for p in self.runs if p.encode() in entry[4])
        return self.runs[producer]

    def log(self, producer: str, count: int, size: int) -> None:
        if producer not in self.runs:
            self.runs[producer] = RUNS[len(self.runs) % 2]
            self.one.hello(producer, self.runs[producer])
        first = self.sent.get(producer, 0) + 1
        self.sent[producer] = first + count - 1
        self.one.events(producer, first, *([START_NS, 20, "E", None, {"x": "x" * size}] for _ in range(count)))

    def seal(self, producer: str) -> None:
        self.one.seal(producer, self.sent[producer])

    def work(self, for_s: float, *, eager: bool = False) -> None:
        """Let the writer write and checkpoint, for a while or until all is done or it dies.

        Eagerly: also while there is more to write, so that checkpoints come in the middle.
        """

        async def main() -> None:
            await self.one.until(lambda: not self.one.journal.queued_bytes)
            writer, end = self.one.writer, self.loop.time() + for_s
            # As its drain does, which has no end where the writer died
            while not self.is_dead and self.loop.time() < end:
                unfinished = writer._unfinished()
                if writer._dispatcher.is_done and not unfinished:
                    break
                writer._dispatcher.hurry()
                writer._turns.hurry(output for output in unfinished if eager or not output.backlog)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.002)  # for what was begun, as compression

        self.loop.run_until_complete(main())

    def step(self, run: str, pieces: int) -> None:
        """At the beginning of a life, write so many pieces of a run's log and checkpoint them before it goes on."""

        async def main() -> None:
            writer = self.one.writer
            writer._dispatcher._serve = lambda _: None
            await self.one.until(lambda: writer._dispatcher.is_done)
            log = await writer.loaded(Key("exp", run, "jsonl"))
            for _ in range(pieces):
                await log.step()
            await log.checkpoint()
            assert log.backlog, "nothing lies beyond"
            writer._dispatcher._serve = writer._turns.serve
            for one in writer._outputs.values():
                writer._turns.serve(one)

        self.loop.run_until_complete(main())

    @property
    def is_dead(self) -> bool:
        return self.fs.crash_at is not None and len(self.fs.calls) >= self.fs.crash_at

    def end(self, chance: random.Random | None) -> None:
        """End the process; with a chance also the machine."""
        written, self.is_up = dict(self.one.written), False
        with contextlib.suppress(Crash, BaseExceptionGroup, asyncio.CancelledError):
            self.loop.run_until_complete(self._life.__aexit__(None, None, None))
        self.one.writer.calls.join()
        self.one.writer._upkeep._thread.shutdown(wait=True)
        self.fs.die()
        if chance is not None:
            self.fs.chance = chance
            self.fs.crash()
            self.fs = FakeFileSystem(chance)
        self._what_was_reported_is_there({**self.written, **written})
        self.written |= written

    def prune(self) -> None:
        self.loop.run_until_complete(self.one.writer.prune())

    def settle(self) -> None:
        """Let everything work, wait until all is written, and compare."""
        self.fs.heal()
        self.loop.run_until_complete(self.one.quiet())
        self.loop.run_until_complete(self.one.until(self._is_well))
        self.loop.run_until_complete(self.one.quiet())  # a rotation that was late
        self.loop.run_until_complete(self.one.until(self._is_well))  # and what is made of its file
        self.prune()
        self.compare()

    def _is_well(self) -> bool:
        return not (self.one.writer.held() or self.one.writer._upkeep._to_compress)

    def compare(self) -> None:
        for run in RUNS:
            expected = self.whole(Key("exp", run, "jsonl"))
            found = self._found(run, "jsonl")
            assert expected.endswith(found), "the bytes are not those of an uninterrupted run"
            gone = expected[: len(expected) - len(found)]
            assert not gone or "keep_files" in self.config, "lines are missing"
            self._only_pruned_is_missing(run, gone)
            if self.config.get("text"):
                assert self.whole(Key("exp", run, "text")).endswith(self._found(run, "text"))
                assert "keep_files" in self.config or self.whole(Key("exp", run, "text")) == self._found(run, "text")
            for producer in [one for one, of in self.runs.items() if of == run]:
                if self.one.written.get(producer, 0) > self.sent[producer]:
                    raise AssertionError("reported what was never logged")

    def whole(self, key: Key) -> bytes:
        records = [Record(n, n + 1, *entry[:5]) for n, (run, entry) in enumerate(self.entries) if run == key.run]
        return Renderer(Filters(build(AgentConfig, self.config), {})).render(key, records, {}).data

    def _found(self, run: str, kind: str) -> bytes:
        directory = self.one.run_logs(run).path
        names = [path.name for path in directory.glob("*")]
        return b"".join(block for log in in_order(names, kind) for block in blocks(directory / log.name))

    def _only_pruned_is_missing(self, run: str, gone: bytes) -> None:
        missing = {(name, number) for name, number in map(_number, gone.splitlines()) if name != "agent"}
        written_down = self._written_down(run)
        assert missing <= written_down, "removed, and not written down"
        if self.one.run_logs(run).path.exists():
            for one in verify_run(self.one.run_logs(run))["producers"]:
                assert (one["missing"], one["repeated"], one["gaps"]) == (0, 0, []), one
                assert one["emitted"] == self.sent[one["producer"]] or one["end"] == "running"

    def _written_down(self, run: str) -> set[tuple[str, int]]:
        logs = self.one.run_logs(run)
        return {
            (name, number)
            for file in (pruned(logs) if logs.path.exists() else [])
            for name, ranges in file["producers"].items()
            for first, last in ranges
            for number in range(first, last + 1)
        }

    def _what_was_reported_is_there(self, written: dict[str, int]) -> None:
        for run in RUNS:
            lines = self._found(run, "jsonl").splitlines() if (self.root / "home" / "logs").exists() else []
            there = {_number(line) for line in lines}
            there |= self._written_down(run)
            for producer, through in written.items():
                if self.runs.get(producer) == run:
                    lost = {(producer, number) for number in range(1, through + 1)} - there
                    assert lost == set(), "reported as written, and lost"

    def close(self) -> None:
        with contextlib.suppress(BaseException):
            self.end(None)
        self.loop.close()
        shutil.rmtree(self.root, ignore_errors=True)


def _number(line: bytes) -> tuple[str, int]:
    try:
        name, _, number = json.loads(line)["seq"].partition("-")
    except ValueError:  # what a power failure left of it
        return "", 0
    return name, int(number)
