"""The writer against one rendering of all records: after any failures and crashes the files hold those very bytes.

Its files lie on the double; the journal and the database, which have models and promises of their own, do not.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from support.depth import IS_DEEP, depth, scratch
from support.fakefs import ERRNOS, SHORT, Crash, FakeFileSystem
from support.writernode import WriterNode, impatient

CALLS = (
    "", "pwritev", "fsync", "sync_directory", "open", "rename", "unlink", "fstat", "lstat", "pread", "truncate",
    "close", "make_directories", "utime",
)  # fmt: skip


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
        self.node = WriterNode(scratch(), FakeFileSystem(), text=text, text_level="DEBUG", compress=compress, **keep)
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

    @rule(eager=st.booleans())
    def work(self, eager: bool) -> None:
        self.node.work(0.05, eager=eager)

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


def played(root: Path, fs: FakeFileSystem, step: int) -> WriterNode:
    """Play a fixed scene up to the crash at a step: rotations, compression, a seal, retention, failing calls."""
    node = WriterNode(root, fs, text=True, text_level="DEBUG", compress="zstd", keep_files=3)
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


def test_what_lies_beyond_the_checkpoint_at_which_a_file_is_rotated_is_in_the_next_file_only() -> None:
    with impatient():
        node = WriterNode(scratch(), FakeFileSystem(), compress="none")
        node.live()
        node.fs.fail("fsync", times=10**9)  # all of it is written, none of it checkpointed
        for _ in range(6):
            node.log("aaaaaaaa", 8, 300)
        node.work(0.3)
        node.end(None)
        node.live()
        node.step("run1", 2)
        node.settle()
        node.close()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ends", [False, True])
def test_a_new_file_that_was_opened_anew_before_its_first_checkpoint_outlives_a_power_failure(
    seed: int, ends: bool
) -> None:
    """Its own sync went well; the names that lead to it, made by the attempt or the life before, were never synced."""
    with impatient():
        node = WriterNode(scratch(), FakeFileSystem(random.Random(seed)))
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
