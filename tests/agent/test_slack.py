"""What a load left in the C library's hands is given back once little comes, and only then."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logferry_agent import slack, upkeep
from logferry_agent.answers import resident_bytes
from logferry_agent.slack import Slack, give_back, share_one_heap
from support.agents import AgentProcess, wait_for
from support.deadproducer import producer
from support.writerrig import rig

MUCH = 1 << 20
needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")


def test_nothing_is_given_back_under_load_and_for_some_rounds_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "_ROUNDS", 2)
    one = Slack()
    positions = (MUCH, 2 * MUCH, 2 * MUCH, 2 * MUCH, 2 * MUCH)
    assert [one.is_due(position) for position in positions] == [False, False, True, True, False]


def test_what_comes_slowly_has_memory_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "_ROUNDS", 1)
    one = Slack()
    positions = (MUCH, MUCH + 10, MUCH + 20, MUCH + 20, MUCH + 20)
    assert [one.is_due(position) for position in positions] == [False, True, True, True, False]


@needs_glibc
def test_memory_that_is_free_between_what_is_used_goes_back_to_the_system() -> None:
    # Pieces of a few pages that stay, now and then, keep a heap from shrinking by itself.
    pieces = [bytes(3_000) for _ in range(20_000)]
    full = resident_bytes()
    kept = pieces[::50]
    del pieces
    give_back()
    assert full - resident_bytes() > 30 << 20
    assert len(kept) == 400


# A large piece that goes would have glibc keep up to twice its size at the end of each heap; a thread has a heap of its
# own, at whose end malloc_trim(3) does not look.
OF_A_THREAD = """
import threading
from logferry_agent.answers import resident_bytes
from logferry_agent.slack import give_back, share_one_heap
share_one_heap()
bytes(20 << 20)
full = 0
def work():
    global full
    pieces = [bytes(3_000) for _ in range(10_000)]
    full = resident_bytes()
    while pieces:
        pieces.pop()
thread = threading.Thread(target=work)
thread.start()
thread.join()
give_back()
print(full - resident_bytes())
"""


@needs_glibc
def test_memory_that_is_free_at_the_end_of_a_threads_heap_goes_back_too() -> None:
    said = subprocess.run([sys.executable, "-c", OF_A_THREAD], check=True, capture_output=True)
    assert int(said.stdout) > 25 << 20


@needs_glibc
def test_an_agents_threads_have_no_heaps_of_their_own(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    producer(node_dir / "spool", "aaaaaaaa", 100)
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: not (node_dir / "spool" / "aaaaaaaa").exists())
        assert not list(reserved(agent.pid))


def reserved(pid: int) -> Iterator[str]:
    """Yield the memory that glibc reserves for the heaps of threads: what is left of 64 MiB each."""
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        span, allowed = line.split()[:2]
        start, end = (int(part, 16) for part in span.split("-"))
        if allowed == "---p" and end % (64 << 20) == 0 and end - start > 32 << 20:
            yield line


def test_without_such_a_function_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "_library", object)
    share_one_heap()
    give_back()


def test_an_agent_gives_back_once_its_producers_are_silent(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bool] = []
    given_back: list[int] = []

    class Watched(Slack):
        def is_due(self, position: int) -> bool:
            looked.append(super().is_due(position))
            return looked[-1]

    def counted(*_: Any) -> None:
        given_back.append(len(looked))
        if len(given_back) == 1:
            raise MemoryError

    monkeypatch.setattr(slack, "_ROUNDS", 3)
    monkeypatch.setattr(upkeep, "_EVERY_S", 0.01)
    monkeypatch.setattr(upkeep, "Slack", Watched)
    monkeypatch.setattr(upkeep, "give_back", counted)

    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            for first in (1, 101):
                one.steps("aaaaaaaa", first, first + 99)
                await one.quiet()
                done = len(looked)
                await one.until(lambda: len(looked) > done + 8)  # noqa: B023 - awaited here
                assert not any(looked[-3:])
            assert given_back == [number for number, due in enumerate(looked, 1) if due]
            assert len(given_back) >= 2

    asyncio.run(main())
