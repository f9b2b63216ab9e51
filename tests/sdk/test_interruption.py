"""What a signal's handler raises inside of a log call reaches the job, and no event is lost or there twice for it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import logferry
from logferry import segments
from support.mapped import Logged


class LimitError(Exception):
    """The end of a time limit, as programs define it."""


# What a log call would take for a fault of a value, a segment without room, a file system's failure.
ERRORS = [LimitError, ValueError, TimeoutError]


class Limit:
    """A handler may be anything that can be called."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __call__(self, number: int, frame: Any) -> None:
        self._end()

    def method(self, number: int, frame: Any) -> None:
        self._end()

    def _end(self) -> None:
        raise self.error


class Interrupts(dict):  # type: ignore[type-arg]
    """A value during whose conversion a signal comes."""

    def items(self) -> Any:
        signal.raise_signal(signal.SIGALRM)
        return super().items()

    def __repr__(self) -> str:
        signal.raise_signal(signal.SIGALRM)
        return ""


class Opaque:
    def __repr__(self) -> str:
        signal.raise_signal(signal.SIGALRM)
        return ""


@pytest.fixture
def logged(root: Path) -> Logged:
    return Logged(root)


@pytest.fixture
def limited() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(function: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        if not after:
            signal.raise_signal(signal.SIGALRM)
        found = function(*arguments, **named)
        signal.raise_signal(signal.SIGALRM)
        return found

    return call


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("value", [Interrupts(a=1), Opaque(), [Opaque()], {1: Interrupts()}])
def test_a_limit_that_ends_while_a_value_is_converted_is_seen(
    logged: Logged, limited: Callable[[Any], None], value: Any, error: type[Exception]
) -> None:
    limited(Limit(error))
    for call in (logged.run.info, logged.run.exception):
        with pytest.raises(error):
            call("E", value=value)
    with pytest.raises(error):
        logged.run.log({"value": value})
    logged.run.info("After")
    assert [event[2] for event in logged.events()] == ["After"]


@pytest.mark.parametrize("error", ERRORS)
def test_a_limit_that_ends_once_the_event_is_kept_does_not_keep_it_twice(
    logged: Logged, limited: Callable[[Any], None], error: type[Exception]
) -> None:
    limited(Limit(error))
    write, logged.hot.write = logged.hot.write, interrupted(logged.hot.write, after=True)
    with pytest.raises(error):
        logged.run.info("Kept")
    logged.hot.write = write
    logged.run.info("After")
    assert [event[2] for event in logged.events()] == ["Kept", "After"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("after", [False, True])
def test_a_limit_that_ends_while_a_segment_is_made_is_seen_and_nothing_is_shed(
    logged: Logged, limited: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, error: type[Exception], after: bool
) -> None:
    limited(Limit(error))
    kept: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(segments, "MappedSegment", interrupted(segments.MappedSegment, after=after))
        with pytest.raises(error):
            ticks(logged, kept)
    logged.run.info("After")
    assert [event[2] for event in logged.events()] == [*["Tick"] * len(kept), "After"]
    assert not any(logged.buffer.head.shed_counts().values())


def ticks(logged: Logged, returned: list[int], first: int = 0, limit_s: float = 0) -> None:
    """Log until something is raised; note whose call returned."""
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    for number in itertools.count(first):
        logged.run.info("Tick", number=number, ballast="x" * 300)
        returned.append(number)


def closure_of(limit: Limit) -> Callable[..., None]:
    def end(number: int, *rest: Any) -> None:
        number = signal.Signals(number)  # handlers do such things
        limit._end()

    return end


@pytest.mark.parametrize("kind", ["object", "method", "partial", "lambda", "closure"])
def test_whatever_the_handler_is_its_error_is_told_from_those_of_values(
    logged: Logged, limited: Callable[[Any], None], kind: str
) -> None:
    limit = Limit(LimitError)
    handlers = {"object": limit, "method": limit.method, "partial": functools.partial(limit.method)}
    handlers |= {"lambda": lambda *_: limit._end(), "closure": closure_of(limit)}
    limited(handlers[kind])
    with pytest.raises(LimitError):
        logged.run.info("E", value=Interrupts())


def test_a_handler_that_handles_its_own_errors_changes_nothing(logged: Logged, limited: Callable[[Any], None]) -> None:
    def handler(number: int, frame: Any) -> None:
        with contextlib.suppress(LimitError):
            Limit(LimitError).method(number, frame)
        logged.run.info("Handled")

    limited(handler)
    logged.run.info("E", value=Interrupts(a=1))
    assert {event[2] for event in logged.events()} == {"Handled", "E"}


def test_a_limit_ends_a_wait_for_the_agent(node_dir: Path, home: Path, limited: Callable[[Any], None]) -> None:
    limited(Limit(LimitError))
    with logferry.init("exp") as run:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(LimitError):
            run.flush(timeout=30)


def test_a_limit_is_seen_through_the_logging_handler(
    logged: Logged, limited: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(Limit(LimitError))
    monkeypatch.setattr(logger := logging.getLogger("interrupted"), "handlers", [logferry.Handler(logged.run)])
    with pytest.raises(LimitError):
        logger.warning("%r", Opaque())
    logger.warning("After")
    assert [event[3] for event in logged.events()] == ["After"]


@pytest.mark.parametrize("error", [LimitError, ValueError, KeyboardInterrupt])
def test_limits_that_end_anywhere_are_all_seen_and_every_call_that_returned_is_kept_once(
    logged: Logged, limited: Callable[[Any], None], error: type[Exception]
) -> None:
    limited(Limit(error))
    chance, returned, found = random.Random(7), list[int](), list[int]()
    for number in range(150):
        with pytest.raises(error):
            ticks(logged, returned, number * 1_000_000, chance.uniform(0.0001, 0.001))
        found += [event[4]["number"] for event in logged.events()]
        logged.buffer.acked(len(found))
        logged.buffer.prepare()
    assert found == sorted(set(found))
    assert set(found) >= set(returned)
