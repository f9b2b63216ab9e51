"""Which events are in a running log, read from the lines themselves.

The number stands at the end of a line, so ordinary lines are not parsed: a line ends with `"seq":"<producer>-<n>"}`.
Consecutive lines of one producer are compared with the numbers that must come next. Only the system's own lines
(gap markers, seals) are read as JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from logferry.events import GAP, SYSTEM_PREFIX

SEAL = "logferry.seal"
AGENT_NAME = "agent"
_SEQ = b'"seq":"'
_SYSTEM = f'"event":"{SYSTEM_PREFIX}'.encode()
# More faults of one kind than a person reads.
_MAX_FAULTS = 20


class Gap(NamedTuple):
    """Numbers that are marked as lost; `last` is `first` - 1 where nobody knows how many are."""

    first: int
    last: int
    cause: str


@dataclass(slots=True)
class Producer:
    """What the lines say of one producer: how many, the last number, ranges that are marked as lost, its seal."""

    first: int = 0
    last: int = 0
    lines: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    again: int = 0  # lines whose number is not above the one before
    gaps: list[Gap] = field(default_factory=list)
    seal: dict[str, Any] | None = None

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The numbers between the first and the last line, without those that are missing."""
        return without([(self.first, self.last)], self.missing)


class Scan:
    """Collects what is in the lines that are added, file after file."""

    def __init__(self) -> None:
        self.producers: dict[str, Producer] = {}
        self.faults: list[str] = []
        self.removed: list[str] = []

    def of(self, name: str) -> Producer:
        found = self.producers.get(name)
        if found is None:
            found = self.producers[name] = Producer()
        return found

    def add(self, block: bytes) -> None:
        """Take in whole lines."""
        has_system = _SYSTEM in block
        name, known, last, count = b"", Producer(), 0, 0
        for line in block.splitlines():
            # the tail is enough: a number has at most 20 digits, a producer's name 32 bytes
            mark = line.rfind(_SEQ, -70)
            producer, _, number = line[mark + 7 : -2].rpartition(b"-")
            if mark < 0 or not number.isdigit() or line[-2:] != b'"}':
                self._fault("a line without seq", line)
                continue
            if has_system and _SYSTEM in line:
                known.last, known.lines = last, known.lines + count
                count = 0
                self._system(line, producer.decode("ascii", "replace"), int(number))
                last = known.last
                continue
            if producer != name:
                known.last, known.lines = last, known.lines + count
                name, count = producer, 0
                known = self.of(producer.decode("ascii", "replace"))
                known.first = known.first or int(number)
                last = known.last
            value = int(number)
            if value != last + 1:
                self._jump(known, last, value)
                if value <= last:
                    continue
            last = value
            count += 1
        known.last, known.lines = last, known.lines + count

    def _jump(self, known: Producer, last: int, value: int) -> None:
        if value <= last:
            known.again += 1
        else:
            known.missing.append((last + 1, value - 1))

    def _system(self, line: bytes, producer: str, number: int) -> None:
        try:
            found = system_line(line)
        except ValueError:
            self._fault("a line that is not JSON", line)
            return
        if found is None:  # the text of another field looked like it
            self._number(producer, number)
        elif found["event"] == SEAL:
            self._seal(found, line)
        elif found["event"] == GAP:
            self._gap(found, producer, number)
        elif producer != AGENT_NAME:
            self._number(producer, number)
        if producer == AGENT_NAME:
            self._agent(number)

    def _agent(self, number: int) -> None:
        known = self.of(AGENT_NAME)
        known.lines += 1
        if number <= known.last:
            known.again += 1
        known.last = max(known.last, number)

    def _number(self, producer: str, number: int) -> None:
        known = self.of(producer)
        known.first = known.first or number
        if number != known.last + 1:
            self._jump(known, known.last, number)
        if number > known.last:
            known.last = number
            known.lines += 1

    def _seal(self, found: dict[str, Any], line: bytes) -> None:
        shed = found.get("shed")
        counts = [found.get("emitted"), *shed.values()] if isinstance(shed, dict) else [None]
        if not all(isinstance(count, int) for count in counts):
            self._fault("a seal without its counts", line)
            return
        known = self.of(str(found.get("producer")))
        if known.seal is None or found["emitted"] >= known.seal["emitted"]:
            known.seal = found

    def _gap(self, found: dict[str, Any], producer: str, number: int) -> None:
        first, lost = found.get("first"), found.get("lost") or 0
        if (
            not isinstance(first, int)
            or not isinstance(lost, int)
            or (producer != AGENT_NAME and found.get("producer") != producer)
        ):
            if producer == AGENT_NAME:
                self._removed(found)
            else:
                self._number(producer, number)
            return
        known = self.of(str(found.get("producer", producer)))
        last = first + lost - 1
        gap = Gap(first, last, str(found.get("cause", "unknown")))
        before = known.gaps[-1] if known.gaps else None
        if before and (before.last, before.cause) == (first - 1, gap.cause):  # a flood of them is one
            known.gaps[-1] = Gap(before.first, last, gap.cause)
        else:
            known.gaps.append(gap)
        known.first = known.first or first
        if first > known.last + 1:
            self._jump(known, known.last, first)
        known.last = max(known.last, last)

    def _removed(self, found: dict[str, Any]) -> None:
        if len(self.removed) < _MAX_FAULTS:
            self.removed.append(f"{found.get('file')} was {found.get('cause')}")

    def _fault(self, what: str, line: bytes) -> None:
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(f"{what}: {line[:80].decode(errors='backslashreplace')}")


def system_line(line: bytes) -> dict[str, Any] | None:
    """Return one of the system's own lines, None where it is somebody else's that only looks like one.

    Raises:
        ValueError: it is no line.

    """
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    event = found.get("event") if isinstance(found, dict) else None
    if not isinstance(event, str):
        raise ValueError("no object with an event")  # noqa: TRY004 - what is read may be anything
    return found if event.startswith(SYSTEM_PREFIX) else None


def system_lines(block: bytes) -> Iterator[dict[str, Any]]:
    """Yield the system's own lines of a block; a line that is none is left out, `Scan` counts it among the faults."""
    for line in block.splitlines() if _SYSTEM in block else ():
        if _SYSTEM in line:
            with contextlib.suppress(ValueError):
                if found := system_line(line):
                    yield found


def without(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of inclusive `ranges` after `taken` is cut out of them, in order."""
    left: list[tuple[int, int]] = []
    cuts = sorted(taken)
    at = 0
    for first, last in sorted(ranges):
        while at < len(cuts) and cuts[at][1] < first:
            at += 1
        low, cut = first, at
        while cut < len(cuts) and cuts[cut][0] <= last:
            if low < cuts[cut][0]:
                left.append((low, cuts[cut][0] - 1))
            low = max(low, cuts[cut][1] + 1)
            cut += 1
        if low <= last:
            left.append((low, last))
    return left
