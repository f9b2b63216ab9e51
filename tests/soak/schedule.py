"""What a soak does, and when: a function of the seed and of the number of seconds, and of nothing else.

Actions name places, services and disks, not processes: "kill what runs in place 2" means the same at whatever speed. A
place holds one job at a time; whatever ends its job names the next one's kind.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from logferry.killpoints import POINTS

PLACES = 4
KINDS = ("alone", "threads", "forks", "spawned", "tasks")
SERVICES = ("agent", "collector")
DISKS = ("node", "logs", "results", "store")
# Jobs of one machine may disagree about the time by hours.
SKEWS_S = (0, 0, 0, 7200, -5400, 86_400)
# An NTP step, a DST-like hour, a battery that was empty, the end of signed 32-bit seconds, and back.
SHIFTS_S = (0, 0, -2, 3600, -3600, 7 * 86_400, -30 * 86_400, 13 * 365 * 86_400)
# How often each thing is done, in parts of a thousand.
_SHARES = {
    "kill": 420, "orphan": 40, "finish": 70, "fail": 30, "agent": 170, "collector": 60, "drain": 30, "stop": 60,
    "fill": 40, "shift": 40, "level": 40,
}  # fmt: skip
_GAP_S = (0.05, 0.5)
# Who passes which points, by the first word of their names: those of what a soak does.
_PASSES = {
    "job": {"spool", "segment", "head", "roll", "trim", "result", "takeover", "run", "finish", "child"},
    "agent": {
        "journal", "ack", "recovery", "adopt", "remove", "log", "checkpoint", "rotate", "compress", "settle", "result",
    },
    "collector": {"hints", "ingest"},
}  # fmt: skip
# How often a process is to end itself at such a point, and at which passage.
_ARMED = 0.3
_PASSAGES = (1, 1, 1, 2, 3, 7, 20)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do: `verb` to `target` at `at_s` after the start, for `for_s` where it has an end.

    `point`: what comes next in that place, or the service when it is back, ends itself there (NAME:N); mostly empty.
    """

    at_s: float
    verb: str
    target: str = ""
    kind: str = ""
    number: int = 0
    for_s: float = 0.0
    point: str = ""


def schedule(seed: int, seconds: float) -> list[Action]:
    """Return what to do in `seconds`, in order."""
    return sorted(_actions(random.Random(seed), seconds), key=lambda action: action.at_s)


def _actions(chance: random.Random, seconds: float) -> Iterator[Action]:
    # 30 s, longer than any patience of ours; in a short soak it would be all there is
    longest_s = min(30.0, seconds / 20)
    yield from (Action(0.0, "begin", str(place), *_job(chance)) for place in range(PLACES))
    at_s, disk_free_at_s = 1.0, 0.0
    while at_s < seconds:
        (verb,) = chance.choices(list(_SHARES), weights=list(_SHARES.values()))
        for_s = chance.uniform(0.1, longest_s)
        if verb in {"kill", "finish", "fail"}:
            yield Action(at_s, verb, str(chance.randrange(PLACES)), *_job(chance), point=_point(chance, "job"))
        elif verb == "orphan":
            yield Action(at_s, verb, str(chance.randrange(PLACES)))
        elif verb in SERVICES:
            # Mostly back at once, sometimes away for long.
            away_s = for_s if chance.random() < 0.2 else 0.0
            yield Action(at_s, "kill service", verb, for_s=away_s, point=_point(chance, verb))
        elif verb == "drain":
            yield Action(at_s, verb, chance.choice(SERVICES))
        elif verb == "stop":
            target = chance.choice([*map(str, range(PLACES)), *SERVICES])
            yield from (Action(at_s, verb, target), Action(at_s + for_s, "resume", target))
        elif verb == "fill" and at_s >= disk_free_at_s:
            # One at a time, now and then all at once.
            target = chance.choice([*DISKS, "all"])
            disk_free_at_s = at_s + for_s
            yield from (Action(at_s, verb, target), Action(disk_free_at_s, "empty", target))
        elif verb == "shift":
            yield Action(at_s, verb, number=chance.choice(SHIFTS_S))
        elif verb == "level":
            yield Action(at_s, verb, chance.choice(["DEBUG", "INFO", "--reset"]))
        at_s += chance.uniform(*_GAP_S)


def _point(chance: random.Random, who: str) -> str:
    if chance.random() >= _ARMED:
        return ""
    name = chance.choice([name for name in POINTS if name.partition(".")[0] in _PASSES[who]])
    return f"{name}:{chance.choice(_PASSAGES)}"


def _job(chance: random.Random) -> tuple[str, int]:
    """Return a job's kind and how far its clock is off; half of them log as fast as they can, in bursts."""
    return f"{chance.choice(KINDS)} {chance.choice(['loud', 'trickle'])}", chance.choice(SKEWS_S)
