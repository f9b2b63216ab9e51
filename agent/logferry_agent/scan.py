"""Which events are in a running log, read from the lines themselves.

The number stands at the end of a line, so ordinary lines are not parsed: a line ends with `"seq":"<producer>-<n>"}`.
Consecutive lines of one producer are compared with the numbers that must come next. Only the system's own lines
(gap markers, seals) are read as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from logferry.events import GAP, SYSTEM_PREFIX

SEAL = "logferry.seal"
AGENT_NAME = "agent"
_SEQ = b'"seq":"'
_SYSTEM = f'"event":"{SYSTEM_PREFIX}'.encode()
# More faults of one kind than a person reads.
_MAX_FAULTS = 20


@dataclass(slots=True)
class Producer:
    """What the lines say of one producer: how many, the last number, ranges that are marked as lost, its seal."""

    first: int = 0
    last: int = 0
    lines: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    again: int = 0  # lines whose number is not above the one before
    gaps: list[dict[str, Any]] = field(default_factory=list)
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
        self.removed: list[dict[str, Any]] = []

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
            found = json.loads(line)
            event = found["event"]
        except (ValueError, KeyError, RecursionError):
            self._fault("a line that is not JSON", line)
            return
        if not event.startswith(SYSTEM_PREFIX):  # the text of another field looked like it
            self._number(producer, number)
        elif event == SEAL:
            self._seal(found)
        elif event == GAP:
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

    def _seal(self, found: dict[str, Any]) -> None:
        known = self.of(str(found.get("producer")))
        if known.seal is None or found.get("emitted", 0) >= known.seal.get("emitted", 0):
            known.seal = found

    def _gap(self, found: dict[str, Any], producer: str, number: int) -> None:
        first = found.get("first")
        if not isinstance(first, int) or (producer != AGENT_NAME and found.get("producer") != producer):
            if producer == AGENT_NAME:
                self.removed.append(found)
            else:
                self._number(producer, number)
            return
        known = self.of(str(found.get("producer", producer)))
        last = first + int(found.get("lost") or 0) - 1
        known.gaps.append(found)
        known.first = known.first or first
        if first > known.last + 1:
            self._jump(known, known.last, first)
        known.last = max(known.last, last)

    def _fault(self, what: str, line: bytes) -> None:
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(f"{what}: {line[:80].decode(errors='backslashreplace')}")


def without(ranges: list[tuple[int, int]], taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of inclusive `ranges` after `taken` is cut out of them."""
    left = [one for one in ranges if one[0] <= one[1]]
    for low, high in taken:
        cut: list[tuple[int, int]] = []
        for first, last in left:
            cut += [part for part in ((first, min(last, low - 1)), (max(first, high + 1), last)) if part[0] <= part[1]]
        left = cut
    return left
