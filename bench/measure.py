"""What a measurement comes to, and how two are taken side by side.

Measurements that are compared are interleaved round by round, so that whatever else the machine does disturbs both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Spread(NamedTuple):
    """Rounds of one measurement, all in the same unit."""

    minimum: float
    median: float
    p99: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), statistics.median(values), percentile(values, 0.99))


class Figure(NamedTuple):
    """One line of the table. A goal is a bound on `value`; without one the figure is told for what it is."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    details: dict[str, float | str] = {}  # noqa: RUF012 - never changed

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:,g}"
        return "" if self.at_least is None else f"≥ {self.at_least:,g}"

    @property
    def holds(self) -> bool:
        low, high = self.at_least, self.at_most
        return (high is None or self.value <= high) and (low is None or self.value >= low)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def interleaved(rounds: int, **measurements: Callable[[], float]) -> dict[str, Spread]:
    """Take each measurement once a round, one after the other."""
    found: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            found[name].append(measure())
    return {name: Spread.of(values) for name, values in found.items()}


def ratio(name: str, ours: Spread, theirs: Spread, *, at_most: float | None = None, unit: str = "ns") -> Figure:
    """Return the quotient of the medians, with both distributions."""
    details: dict[str, float | str] = {"of the minima": ours.minimum / theirs.minimum}
    for title, spread in (("ours", ours), ("theirs", theirs)):
        details |= {f"{title}, {name} {unit}": value for name, value in spread._asdict().items()}
    return Figure(name, ours.median / theirs.median, "×", at_most, details=details)


def ns_per_call(call: Callable[..., None], calls: int = 5_000) -> float:
    """Return nanoseconds of one call with five fields, as most events of a training run have."""
    # Written out: to unpack a mapping of fields would cost more than to log them.
    began = time.perf_counter_ns()
    for number in range(calls):
        call("EpochEnd", epoch=number, batch=42, loss=0.94, accuracy=0.77, phase="train")
    return (time.perf_counter_ns() - began) / calls


def ns_per_short_call(call: Callable[..., None], calls: int = 5_000) -> float:
    """Return nanoseconds of one call with one field."""
    began = time.perf_counter_ns()
    for number in range(calls):
        call("EpochEnd", epoch=number)
    return (time.perf_counter_ns() - began) / calls
