"""Calls into a file system: a few at a time; one that hangs is said, gives its place to others, and is let go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from logferry_agent.calls import Calls, Place

PLACES = 8


class Held:
    """A call that does not return until `release`, and counts how many are in it at a time."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.release.wait(30)
        with self._lock:
            self.now -= 1
        return "back"


def run(play: Callable[[Calls, Held], Awaitable[None]]) -> None:
    async def main() -> None:
        calls, held = Calls("test"), Held()
        try:
            await play(calls, held)
        finally:
            held.release.set()
            calls.close()
            calls.join()

    asyncio.run(main())


class Told(list[str]):
    """A caller that notes what it is told."""

    def on_hang(self) -> None:
        self.append("hangs")


def place(calls: Calls, caller: Told | None = None) -> Place:
    return Place(calls, Told() if caller is None else caller)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_what_a_call_returns_or_raises_comes_back_to_whoever_made_it() -> None:
    async def play(calls: Calls, _: Held) -> None:
        assert await place(calls).run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await place(calls).run(divmod, 7, 0)
        numbers = [place(calls).run(abs, -number) for number in range(1000)]
        assert await asyncio.gather(*numbers) == list(range(1000))

    run(play)


def test_what_is_called_for_at_a_time_begins_before_any_of_it_is_finished() -> None:
    async def play(calls: Calls, _: Held) -> None:
        made: list[str] = []
        both = (place(calls).run_both(partial(made.append, "write"), partial(made.append, "sync")) for _ in range(20))
        await asyncio.gather(*both, place(calls).run(made.append, "look"))
        assert made == 20 * ["write"] + ["look"] + 20 * ["sync"]

    run(play)


def test_what_could_not_begin_is_not_finished() -> None:
    async def play(calls: Calls, _: Held) -> None:
        made: list[str] = []
        with pytest.raises(ZeroDivisionError):
            await place(calls).run_both(lambda: 1 // 0, partial(made.append, "sync"))
        with pytest.raises(ZeroDivisionError):
            await place(calls).run_both(partial(made.append, "write"), lambda: 1 // 0)
        assert made == ["write"]

    run(play)


@pytest.mark.parametrize("count", [1, PLACES - 1])
@pytest.mark.parametrize("step", [0, 1])
def test_a_step_that_does_not_return_holds_up_no_other_that_was_called_for_with_it(
    step: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.calls.PATIENCE_S", 600)

    async def play(calls: Calls, held: Held) -> None:
        quick: list[Callable[[], Any]] = [lambda: None, lambda: None]
        others = [asyncio.ensure_future(place(calls).run_both(*quick)) for _ in range(20)]
        slow = [*quick[:step], held, *quick[step + 1 :]]
        hangs = [asyncio.ensure_future(place(calls).run_both(*slow)) for _ in range(count)]
        async with asyncio.timeout(20):
            await asyncio.gather(*others)
        assert not any(one.done() for one in hangs)
        held.release.set()
        await asyncio.gather(*hangs)

    run(play)


def test_beside_a_call_that_takes_long_others_do_not_wait_for_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.calls._MOMENT_S", 0.5)

    async def play(calls: Calls, held: Held) -> None:
        slow = asyncio.ensure_future(place(calls).run(held))
        began_s = time.monotonic()
        await until(lambda: held.now == 1 and time.monotonic() - began_s > 0.6)
        async with asyncio.timeout(10):  # forty times half a second would be twenty
            for number in range(40):
                assert await place(calls).run(abs, -number) == number
        held.release.set()
        assert await slow == "back"

    run(play)


def test_where_the_system_refuses_a_thread_calls_wait_for_one_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, refusals = threading.Thread.start, iter(range(5))

    def refused(thread: threading.Thread) -> None:
        if next(refusals, None) is not None:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def play(calls: Calls, _: Held) -> None:
        monkeypatch.setattr(threading.Thread, "start", refused)
        async with asyncio.timeout(20):
            assert await place(calls).run(abs, -1) == 1
        assert [record.message for record in caplog.records if "refuses a thread" in record.message] == [
            "files wait, because the system refuses a thread (can't start new thread): raise its limit of processes"
        ]

    run(play)


def test_there_are_never_more_calls_at_a_time_than_places() -> None:
    async def play(calls: Calls, held: Held) -> None:
        all_back = asyncio.gather(*(place(calls).run(held) for _ in range(3 * PLACES)))
        await until(lambda: held.now == PLACES)
        held.release.set()
        assert await all_back == ["back"] * 3 * PLACES
        assert held.most == PLACES

    run(play)


def test_help_is_not_called_for_where_all_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.calls._MOMENT_S", 0.001)

    async def play(calls: Calls, held: Held) -> None:
        all_back = asyncio.gather(*(place(calls).run(held) for _ in range(2 * PLACES)))
        await until(lambda: held.now == PLACES)
        await asyncio.sleep(0.1)
        assert calls._orders.qsize() < PLACES
        held.release.set()
        await all_back

    run(play)


def test_calls_that_hang_are_told_once_and_give_their_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.calls.PATIENCE_S", 0.1)

    async def play(calls: Calls, held: Held) -> None:
        told = Told()
        places = [place(calls, told) for _ in range(PLACES)]
        back = asyncio.gather(*(one.run(held) for one in places))
        assert await place(calls).run(abs, -1) == 1  # once they have given their places
        await until(lambda: calls.hanging == PLACES)
        await asyncio.sleep(0.2)
        assert told == ["hangs"] * PLACES
        assert all(one.hangs for one in places)
        held.release.set()
        assert await back == ["back"] * PLACES
        assert calls.hanging == 0
        assert not any(one.hangs for one in places)
        await until(lambda: sum(thread.is_alive() for thread in threads()) <= PLACES)  # those beyond are let go
        assert await place(calls).run(abs, -1) == 1

    run(play)


def test_a_call_that_waits_for_its_turn_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.calls.PATIENCE_S", 0.4)

    async def play(calls: Calls, _: Held) -> None:
        told = Told()
        await asyncio.gather(*(place(calls, told).run(time.sleep, 0.05) for _ in range(10 * PLACES)))
        assert not told

    run(play)


def test_after_the_end_what_waited_for_a_place_is_not_called() -> None:
    async def play(calls: Calls, held: Held) -> None:
        called: list[str] = []
        waiting = [place(calls).submit(held) for _ in range(PLACES)]
        waiting.append(place(calls).submit(called.append, "late"))
        await until(lambda: held.now == PLACES)
        calls.close()
        held.release.set()
        calls.join()
        assert not called

    run(play)


def test_a_caller_that_was_cancelled_disturbs_no_other() -> None:
    async def play(calls: Calls, held: Held) -> None:
        cancelled = asyncio.ensure_future(place(calls).run(held))
        await until(lambda: held.now == 1)
        cancelled.cancel()
        held.release.set()
        assert await place(calls).run(abs, -1) == 1
        await until(lambda: held.now == 0)
        assert await place(calls).run(abs, -2) == 2

    run(play)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


def test_a_call_that_waits_behind_calls_that_hang_gets_their_place_though_none_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("logferry_agent.calls.PATIENCE_S", 0.05)

    async def play(calls: Calls, held: Held) -> None:
        for _ in range(PLACES):
            place(calls).submit(held)
        async with asyncio.timeout(20):
            assert await place(calls).run(abs, -1) == 1

    run(play)
