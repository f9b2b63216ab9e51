"""The writer against one rendering of all records: after any failures and crashes the files hold those very bytes.

Its files lie on the double; the journal and the database, which have models and promises of their own, do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from logferry_agent import upkeep, writer
from logferry_agent.chunk import Renderer
from logferry_agent.config import AgentConfig
from logferry_agent.filters import Filters
from logferry_agent.journal import Entry, Record
from logferry_agent.logset import blocks
from logferry_agent.prune import pruned
from logferry_agent.rotation import in_order
from logferry_agent.state import Key
from logferry_agent.verify import verify_run
from support.depth import IS_DEEP, depth, scratch
from support.fakefs import ERRNOS, SHORT, Crash, FakeFileSystem
from support.writerrig import START_NS, Rig, rig

RUNS = ("run1", "run2")
CALLS = (
    "", "pwritev", "fsync", "sync_directory", "open", "rename", "unlink", "fstat", "lstat", "pread", "truncate",
    "close", "make_directories", "utime",
)  # fmt: skip


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Have the writer try again at once, and compress what is small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_RETRY_S", 0.002)
        patch.setattr(upkeep, "_EVERY_S", 0.02)
        patch.setattr(upkeep, "_WORTH_COMPRESSING_BYTES", 100)
        yield


class Node:
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

    def work(self, for_s: float) -> None:
        """Let the writer write and checkpoint, for a while or until all is done or it dies."""

        async def main() -> None:
            await self.one.until(lambda: not self.one.journal.queued_bytes)
            writer, end = self.one.writer, self.loop.time() + for_s
            # As its drain does, which has no end where the writer died
            while not self.is_dead and self.loop.time() < end:
                unfinished = writer._unfinished()
                if writer._dispatcher.is_done and not unfinished:
                    break
                writer._dispatcher.hurry()
                writer._start(output for output in unfinished if not output.backlog)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.002)  # for what was begun, as compression

        self.loop.run_until_complete(main())

    @property
    def is_dead(self) -> bool:
        return self.fs.crash_at is not None and len(self.fs.calls) >= self.fs.crash_at

    def end(self, chance: random.Random | None) -> None:
        """End the process; with a chance also the machine."""
        written, self.is_up = dict(self.one.written), False
        with contextlib.suppress(Crash, BaseExceptionGroup, asyncio.CancelledError):
            self.loop.run_until_complete(self._life.__aexit__(None, None, None))
        self.one.writer.calls.executor.shutdown(wait=True)
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
        return Renderer(Filters(AgentConfig(**self.config), {})).render(key, records, {}).data

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


class WriterModel(RuleBasedStateMachine):
    """Two runs, producers that come and end, and every way for the disk and the machine to fail."""

    @initialize(
        text=st.booleans(),
        compress=st.sampled_from(["none", "zstd", "gzip"]),
        keep=st.sampled_from([{}, {}, {"keep_files": 2}]),
    )
    def begin(self, text: bool, compress: str, keep: dict[str, int]) -> None:
        self.patches = contextlib.ExitStack()
        self.patches.enter_context(impatient())
        self.node = Node(scratch(), FakeFileSystem(), text=text, text_level="DEBUG", compress=compress, **keep)
        self.node.live()
        self.alive: list[str] = []
        self.begun = 0

    @rule(which=st.integers(0, 3), count=st.integers(1, 12), size=st.integers(0, 700))
    def log(self, which: int, count: int, size: int) -> None:
        if which >= len(self.alive):
            self.alive.append("abcdefghijklmnopqrstuvwxyz"[self.begun % 26] * 8 + f"{self.begun // 26 or ''}")
            self.begun += 1
            which = len(self.alive) - 1
        self.node.log(self.alive[which], count, size)

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, 3))
    def seal(self, which: int) -> None:
        self.node.seal(self.alive.pop(which % len(self.alive)))

    @rule()
    def work(self) -> None:
        self.node.work(0.05)

    @rule(
        operation=st.sampled_from(CALLS),
        number=st.sampled_from([*ERRNOS, SHORT]),
        times=st.integers(1, 4),
        after=st.integers(0, 3),
        path=st.sampled_from(["", "run1", "run2", ".jsonl", ".log"]),
    )
    def the_disk_fails(self, operation: str, number: int, times: int, after: int, path: str) -> None:
        self.node.fs.fail(operation, number, path, times, after)

    @rule()
    def the_kernel_needs_memory(self) -> None:
        self.node.fs.drop_clean_pages()

    @rule(idle=st.booleans())
    def ten_minutes_pass(self, idle: bool) -> None:
        self.node.now += 700 * 10**9
        self.node.one.now = self.node.now
        self.node.work(0.03)

    @rule()
    def retention(self) -> None:
        with contextlib.suppress(OSError):
            self.node.prune()

    @rule(seed=st.integers(0, 1 << 30), power=st.booleans())
    def end(self, seed: int, power: bool) -> None:
        self.node.end(random.Random(seed) if power else None)
        self.node.live()

    @rule(
        step=st.integers(1, 40),
        count=st.integers(1, 12),
        size=st.integers(0, 700),
        prunes=st.booleans(),
        seed=st.integers(0, 1 << 30),
        power=st.booleans(),
        again=st.sampled_from([0, 0, 3, 9, 17]),
    )
    def end_in_the_middle(
        self, step: int, count: int, size: int, prunes: bool, seed: int, power: bool, again: int
    ) -> None:
        self.log(0, count, size)
        self.node.fs.crash_at = len(self.node.fs.calls) + step
        self.node.work(0.05)
        if prunes and not self.node.is_dead:
            with contextlib.suppress(Crash, OSError):
                self.node.prune()
        self.end(seed, power)
        if again:
            self.node.fs.crash_at = len(self.node.fs.calls) + again
            self.node.work(0.05)
            self.end(seed + 1, power)

    @rule()
    def settle(self) -> None:
        self.node.settle()

    def teardown(self) -> None:
        if hasattr(self, "node"):
            try:
                if self.node.is_up:  # else something was found already
                    self.node.settle()
            finally:
                self.node.close()
                self.patches.close()


TestWriter = WriterModel.TestCase
TestWriter.settings = depth(8, 15)


def played(root: Path, fs: FakeFileSystem, step: int) -> Node:
    """Play a fixed scene up to the crash at a step: rotations, compression, a seal, retention, failing calls."""
    node = Node(root, fs, text=True, text_level="DEBUG", compress="zstd", keep_files=3)
    fs.crash_at = step
    node.live()
    for turn in range(6):
        for producer in ("aaaaaaaa", "bbbbbbbb")[: 1 + turn % 2]:
            node.log(producer, 8, 300)
        if turn == 2:
            fs.fail("fsync")
        if turn == 3:
            fs.fail("pwritev", ERRNOS[0])
            fs.fail("rename")
        if turn == 5:
            node.seal("bbbbbbbb")
        node.work(2)
        if turn == 5 and not node.is_dead:
            with contextlib.suppress(Crash):
                node.prune()
    return node


def swept(root: Path, steps: Iterator[int], again: list[int]) -> int:
    """Crash at these steps, each time also at those of the recovery (0: not); return how many crashes that was."""
    crashes = 0
    with impatient():
        for step in steps:
            for second in again:
                crashes += 1
                where = root / f"{step}-{second}"
                node = played(where, FakeFileSystem(random.Random(step)), step)
                was_dead = node.is_dead
                node.end(random.Random(step + 1000 * second))
                if second:
                    node.fs.crash_at = second
                    node.live()
                    node.work(2)
                    node.end(random.Random(step + second))
                node.live()
                node.settle()
                node.log("aaaaaaaa", 5, 100)
                node.settle()
                node.close()
                if not was_dead:
                    return crashes
    return crashes


@pytest.mark.timeout(3600)
def test_a_power_failure_at_every_call_leaves_the_bytes_of_an_uninterrupted_run() -> None:
    root = scratch()
    crashes = swept(root, itertools.count(1, 1 if IS_DEEP else 11), [0])
    assert crashes > (200 if IS_DEEP else 15)
    shutil.rmtree(root)


@pytest.mark.timeout(7200)
def test_so_does_one_in_the_middle_of_the_recovery() -> None:
    root = scratch()
    swept(root, itertools.count(5, 3 if IS_DEEP else 41), [1, 4, 7, 11, 15, 20, 26, 33] if IS_DEEP else [6])
    shutil.rmtree(root)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ends", [False, True])
def test_a_new_file_that_was_opened_anew_before_its_first_checkpoint_outlives_a_power_failure(
    seed: int, ends: bool
) -> None:
    """Its own sync went well; the names that lead to it, made by the attempt or the life before, were never synced."""
    with impatient():
        node = Node(scratch(), FakeFileSystem(random.Random(seed)))
        node.live()
        node.fs.fail("fsync", times=10**9 if ends else 1)
        node.log("aaaaaaaa", 5, 10)
        node.work(0.1 if ends else 5)
        if ends:
            node.end(None)
            node.live()
            node.work(5)
        assert node.one.written == {"aaaaaaaa": 5}
        node.end(random.Random(seed))
        node.live()
        node.settle()
        node.close()
