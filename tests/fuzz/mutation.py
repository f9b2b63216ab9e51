"""Inputs: several files or frames as one string of bytes, and how such a string is mutated without a guide.

An input is `flags` (one byte, for the target) and then parts, each `kind` (one byte), `length` (three) and the bytes. A
part that says it is longer than what follows is what follows: whatever the mutation did, there is something to try.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

Part = tuple[int, bytes]
MAX_BYTES = 32 << 10
# Lengths and numbers at which something begins, ends or overflows.
_EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
_WORDS = [
    b"logferry.end",
    b"logferry.seal",
    b"logferry.gap",
    b"logferry.result",
    b"\xce",
    b"\xcb\x7f\xf8",
    b"\xc1",
    b"NaN",
]


def join(flags: int, parts: Sequence[Part]) -> bytes:
    return bytes([flags]) + b"".join(bytes([kind]) + len(data).to_bytes(3) + data for kind, data in parts)


def split(data: bytes) -> tuple[int, list[Part]]:
    found, at = [], 1
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 4])
        found.append((data[at], data[at + 4 : at + 4 + size]))
        at += 4 + size
    return data[0] if data else 0, found


class Mutator:
    """Makes new inputs of known ones; the same seed makes the same."""

    def __init__(self, seeds: Sequence[bytes], chance: random.Random) -> None:
        self._seeds, self._chance = seeds, chance

    def next(self) -> bytes:
        chance = self._chance
        flags, parts = split(chance.choice(self._seeds))
        if chance.random() < 0.3:
            parts = _shuffled(parts, split(chance.choice(self._seeds))[1], chance)
        for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
            if parts:
                at = chance.randrange(len(parts))
                kind, data = parts[at]
                parts[at] = (kind, self._changed(data))
        if chance.random() < 0.05 and parts:
            parts[chance.randrange(len(parts))] = (chance.randrange(256), parts[0][1])
        return join(flags if chance.random() < 0.8 else chance.randrange(256), parts)[:MAX_BYTES]

    def _changed(self, data: bytes) -> bytes:
        chance = self._chance
        at = chance.randrange(len(data) + 1)
        step = chance.choice((1, 1, 2, 4, 8, 64))
        match chance.randrange(9):
            case 0:
                return (
                    data[:at] + bytes([(data[at] ^ 1 << chance.randrange(8))]) + data[at + 1 :] if data[at:] else data
                )
            case 1:
                return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 2:
                return data[:at]
            case 3:
                return data[:at] + data[at + step :]
            case 4:
                return data[:at] + chance.randbytes(step) + data[at:]
            case 5:
                return data[:at] + data[at : at + 64] * chance.choice((2, 3, 50)) + data[at + 64 :]
            case 6:
                edge, size = chance.choice(_EDGES), chance.choice((1, 2, 4, 8))
                return (
                    data[:at]
                    + (edge & (1 << 8 * size) - 1).to_bytes(size, chance.choice(("big", "little")))
                    + data[at + size :]
                )
            case 7:
                return data[:at] + chance.choice(_WORDS) + data[at:]
            case _:
                other = chance.choice(self._seeds)
                start = chance.randrange(len(other))
                return data[:at] + other[start : start + 8 * step] + data[at + step :]


def _shuffled(parts: list[Part], other: list[Part], chance: random.Random) -> list[Part]:
    parts = [*parts, *chance.sample(other, min(len(other), 2))]
    match chance.randrange(3):
        case 0:
            chance.shuffle(parts)
        case 1:
            del parts[chance.randrange(len(parts)) :][:1]
        case _:
            parts += parts[: chance.randrange(3)]
    return parts
