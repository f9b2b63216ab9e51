"""What a log call costs its caller, with an agent running: the plain call, its relatives, threads, single calls."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import floor
import numpy as np
from measure import Figure, Spread, interleaved, ns_per_call, ns_per_short_call, percentile, ratio
from node import BenchNode

import logferry
from logferry.run import Run
from logferry.session import open_run

CALLS = 5_000
THREADS = 4
TEXT = "x" * 10_000
# So many single calls are taken in a row.
_TURN = 200_000


@contextmanager
def a_run(level: int = 10) -> Iterator[Run]:
    """A run with an agent, in this process."""
    node = BenchNode()
    try:
        node.start_agent()
        os.environ.update({key: value for key, value in node.env.items() if key.startswith("LOGFERRY_")})
        run = open_run("bench", node.settings._replace(level=level), {}, time.time_ns, os.urandom)
        yield run
        run.finish()
    finally:
        node.close()


def figures(rounds: int, singles: int) -> list[Figure]:
    with a_run() as run:
        told = rounds // 2  # what has no goal is measured half as often
        found = [plain_call(run, rounds), *relatives(run, told), *threads(run, told), *single_calls(run, singles)]
    with a_run(level=logging.WARNING) as quiet:
        return [disabled_call(quiet, rounds), *found]


def shipped(run: Run, measure: Callable[[], float]) -> Callable[[], float]:
    """Return the measurement followed by shipping what it logged: the agent's work belongs to no other round."""

    def measure_and_ship() -> float:
        found = measure()
        run.flush(until="durable", timeout=30)
        return found

    return measure_and_ship


def plain_call(run: Run, rounds: int) -> Figure:
    bare, again = floor.bare_call()

    def theirs() -> float:
        again()
        return ns_per_call(bare, CALLS)

    found = interleaved(rounds, ours=shipped(run, lambda: ns_per_call(run.info, CALLS)), theirs=theirs)
    return ratio("log call, five fields ÷ stamp, pack, copy", found["ours"], found["theirs"], at_most=1.5)


def disabled_call(quiet: Run, rounds: int) -> Figure:
    stdlib = floor.disabled_stdlib_call()

    def theirs() -> float:
        began = time.perf_counter_ns()
        for number in range(CALLS):
            stdlib("EpochEnd %s", number)
        return (time.perf_counter_ns() - began) / CALLS

    found = interleaved(rounds, ours=lambda: ns_per_short_call(quiet.debug, CALLS), theirs=theirs)
    return ratio("disabled call ÷ the standard library's", found["ours"], found["theirs"], at_most=1.0)


def relatives(run: Run, rounds: int) -> list[Figure]:
    """Every other way to log, as a multiple of the plain call."""
    fold = run.bind(fold=3, host="node17")
    logger = logging.getLogger("bench.handler")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logferry.Handler(run))
    array = np.zeros(100)

    def braces(event: str, epoch: int) -> None:
        run.info(event, "{epoch} of {20} %s %(x)d", epoch=epoch)

    def exception(event: str, epoch: int) -> None:
        try:
            [].pop()
        except IndexError:
            run.exception(event, epoch=epoch)

    def measured(call: Callable[..., None]) -> Callable[[], float]:
        return shipped(run, lambda: ns_per_call(call, CALLS))

    def short(call: Callable[..., None], calls: int = CALLS) -> Callable[[], float]:
        return shipped(run, lambda: ns_per_short_call(call, calls))

    ways: dict[str, Callable[[], float]] = {
        "plain": measured(run.info),
        "call of a logger with two bound fields": measured(fold.info),
        "call with a message full of braces": short(braces),
        "exception with its traceback": short(exception, 500),
        "standard library's record through Handler": short(lambda event, epoch: logger.info("%s %d", event, epoch)),
        "call with a text of 10,000 characters": short(
            lambda event, epoch: run.info(event, epoch=epoch, text=TEXT), 500
        ),
        "call with an array of 100 numbers": short(lambda event, epoch: run.info(event, epoch=epoch, array=array), 200),
    }
    found = interleaved(rounds, **ways)
    return [ratio(f"{name} ÷ plain call", found[name], found["plain"]) for name in list(ways)[1:]]


def threads(run: Run, rounds: int) -> list[Figure]:
    """Four threads that log, and four that do the bare work: what is lost beyond the interpreter's own switching."""
    bare, again = floor.bare_call()

    def together(call: Callable[..., None], count: int) -> float:
        work = [threading.Thread(target=ns_per_call, args=(call, CALLS)) for _ in range(count)]
        began = time.perf_counter_ns()
        for one in work:
            one.start()
        for one in work:
            one.join()
        return (time.perf_counter_ns() - began) / (CALLS * count)

    def theirs(count: int) -> float:
        again()
        return together(bare, count)

    found = interleaved(
        rounds,
        one=shipped(run, lambda: together(run.info, 1)),
        four=shipped(run, lambda: together(run.info, THREADS)),
        bare_one=lambda: theirs(1),
        bare_four=lambda: theirs(THREADS),
    )
    switching = found["bare_four"].median / found["bare_one"].median
    figure = ratio("call of each of four threads ÷ call of one thread", found["four"], found["one"])
    return [figure._replace(details={**figure.details, "the same for stamp, pack, copy": switching})]


def single_calls(run: Run, count: int) -> list[Figure]:
    """Calls timed one by one, the timer included; the spool ships meanwhile. The bare work likewise, twice.

    In between nothing is shipped: that is the machine's own. Call by call beside ours, it meets what ours meets of
    shipper and agent: what ours has beyond that is the call's.
    """
    bare, again = floor.bare_call()
    ours, theirs = Singles(run.info), Singles(bare)
    by_turns = Singles(run.info), Singles(bare)
    for _ in range(max(1, count // _TURN)):
        # A disk that is slower than this loop must not lead to shedding; what is left of it belongs to no other round.
        ours.take(min(_TURN, count))
        run.flush(until="durable", timeout=60)
        again()
        theirs.take(min(_TURN, count) // 4)
        again()
        for number in range(min(_TURN, count) // 8):
            for one in by_turns:
                one.take_one(number)
        run.flush(until="durable", timeout=60)
    spread, least = Spread.of(ours.taken), Spread.of(theirs.taken)
    beside = [percentile(one.taken, 0.999) for one in by_turns]
    details: dict[str, float | str] = {
        "p50, µs": spread.median,
        "p99, µs": spread.p99,
        "stamp, pack, copy: p99.9, µs": percentile(theirs.taken, 0.999),
        "its p50": least.median,
        "its p99": least.p99,
        "p99.9 call by call, ours": beside[0],
        "p99.9 call by call, theirs": beside[1],
        "calls": count,
    }
    return [
        Figure("single calls, p99.9", percentile(ours.taken, 0.999), "µs", 20, details=details),
        Figure(f"longest of {count:,} calls", ours.slowest / 1e3, "µs"),
    ]


class Singles:
    """Single calls: the slowest in nanoseconds, and an unbiased tenth in microseconds, which keeps memory small."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call
        self.slowest = 0
        self.taken: list[float] = []

    def take(self, count: int) -> None:
        for number in range(count):
            self.take_one(number)

    def take_one(self, number: int) -> None:
        clock, call = time.perf_counter_ns, self._call
        began = clock()
        call("EpochEnd", epoch=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
        took = clock() - began
        self.slowest = max(self.slowest, took)
        if number % 10 == 0:
            self.taken.append(took / 1e3)
