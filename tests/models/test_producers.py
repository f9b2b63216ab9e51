"""Which number is taken next, against a list: whatever the network does, each is journalled once and in order.

The producer's side is the shipper's rules in a few lines: ship from `next` on, go back to what a nack or the first
welcome after a greeting says, keep what is not acked. Frames and answers are lost, repeated, late, and out of order.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import msgpack
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from logferry import wire
from logferry_agent.journal import EVENTS, Entry
from logferry_agent.ledger import Ledger
from logferry_agent.producers import Old, Producers, Refused, Taken
from support.depth import depth
from support.journals import ABOUT, spool_records
from support.records import events_of

NAMES = ("aaaaaaaa", "bbbbbbbb")


@dataclass
class Job:
    """A producer: events 1 … `logged` are in its spool, those through `acked` may be trimmed."""

    name: str
    logged: int = 0
    next: int = 1
    acked: int = 0
    identity: bytes = b""
    is_greeted: bool = False
    is_gone: bool = False
    journal: list[int] = field(default_factory=list)  # the oracle: what is durable at the agent
    written: int = 0

    def batch(self, first: int, last: int) -> wire.Batch:
        payload = spool_records(*([number, 20, "E", None, {}] for number in range(first, last + 1)))
        return wire.Batch(self.name, first, last - first + 1, zlib.crc32(payload), payload)

    def hear(self, frame: wire.Frame) -> None:
        if isinstance(frame, wire.Who):
            self.is_greeted = False
        elif isinstance(frame, wire.Nack):
            self._go_back(frame.expected)
        elif isinstance(frame, wire.Welcome):
            if not self.is_greeted or frame.expected > self.next:
                self._go_back(frame.expected)
            self.is_greeted = True
            self._acked(frame.expected - 1)
        elif isinstance(frame, wire.Ack):
            self._acked(frame.durable)

    def _go_back(self, expected: int) -> None:
        if self.acked < expected <= self.logged + 1:
            self.next = expected

    def _acked(self, through: int) -> None:
        if self.acked < through < self.next:
            self.acked = through


class ProducersModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.jobs = {name: Job(name) for name in NAMES}
        self.ledger = Ledger()
        self.producers = Producers(self.ledger)
        self.queued: list[Entry] = []
        self.bound: dict[str, bytes] = {}
        self.frames: list[tuple[wire.Frame, bytes]] = []
        self.answers: list[tuple[str, wire.Frame]] = []
        self.connections = self.position = 0
        self.the_network_gets_better()

    # the job

    @rule(name=st.sampled_from(NAMES), count=st.integers(3, 12))
    def log(self, name: str, count: int) -> None:
        if not self.jobs[name].is_gone:
            self.jobs[name].logged += count

    @rule(name=st.sampled_from(NAMES), counts=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def ship(self, name: str, counts: list[int]) -> None:
        self.log(name, sum(counts))
        self._ship(name, counts)

    def _ship(self, name: str, counts: list[int]) -> None:
        job = self.jobs[name]
        for count in counts if job.is_greeted and not job.is_gone else []:
            last = min(job.logged, job.next + count - 1)
            if job.next <= last:
                self.frames.append((job.batch(job.next, last), job.identity))
                job.next = last + 1

    @rule(name=st.sampled_from(NAMES), anew=st.booleans(), stays=st.booleans())
    def say_hello(self, name: str, anew: bool, stays: bool) -> None:
        """Greet, and ship on only once it is answered; or, to be roused by the agent, at once."""
        job = self.jobs[name]
        if job.is_gone:
            return
        if anew or not job.identity:
            self.connections += 1
            job.identity = b"%d" % self.connections
        job.is_greeted = job.is_greeted and stays and not anew
        self.frames.append((wire.Hello(name, job.acked, ABOUT | {"run_id": name}), job.identity))

    @precondition(lambda self: self.answers)
    @rule(at=st.integers(0, 1 << 20), what=st.sampled_from(["hear", "hear", "hear", "twice", "lose"]))
    def answer_arrives(self, at: int, what: str) -> None:
        at = 0 if at % 3 else at % len(self.answers)
        name, frame = self.answers[at]
        if what != "lose" and not self.jobs[name].is_gone:
            self.jobs[name].hear(frame)
        if what != "twice":
            del self.answers[at]

    # the agent

    @precondition(lambda self: self.frames)
    @rule(at=st.integers(0, 1 << 20), what=st.sampled_from(["take", "take", "take", "twice", "lose"]))
    def frame_arrives(self, at: int, what: str) -> None:
        at = 0 if at % 3 else at % len(self.frames)
        frame, identity = self.frames[at]
        if what != "lose":
            self._take(frame, identity)
        if what != "twice":
            del self.frames[at]

    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 3), ahead=st.integers(0, 3))
    def a_frame_arrives_with_other_bounds(self, name: str, back: int, ahead: int) -> None:
        """What was shipped before comes cut at other numbers, as after a welcome that came late."""
        job, taken = self.jobs[name], self._taken(name)
        first, last = max(1, taken + 1 - back), min(job.logged, taken + ahead)
        if job.identity and first <= last:
            self._take(job.batch(first, last), job.identity)

    @rule(name=st.sampled_from(NAMES))
    def a_hello_arrives(self, name: str) -> None:
        """While what was taken is not durable yet, or from one that has died meanwhile."""
        job = self.jobs[name]
        if job.identity:
            self._take(wire.Hello(name, job.acked, ABOUT | {"run_id": name}), job.identity)

    def _taken(self, name: str) -> int:
        queued = sum(entry.events for entry in self.queued if entry.producer == name)
        return len(self.jobs[name].journal) + queued

    def _take(self, frame: Any, identity: bytes) -> None:
        if isinstance(frame, wire.Hello):
            one = self.producers.get(frame.producer)
            is_adopted = one is not None and one.adopting
            entry = self.producers.hello(frame, identity)
            assert isinstance(entry, Refused) == is_adopted, "a producer speaks while its spool is read, or may not"
            if isinstance(entry, Refused):
                return
            self.queued += [entry] if entry else []
            self.bound[frame.producer] = identity
            one = self.producers.get(frame.producer)
            assert one is not None
            self.producers.wants_news(one)
            self.nothing_is_said_that_is_not_so()  # a welcome is due, and what it speaks of may still be queued
            return
        taken = self._taken(frame.producer)
        answer = self.producers.offer(frame, identity)
        is_bound = self.bound.get(frame.producer) == identity
        assert isinstance(answer, wire.Who) != is_bound, "the newest connection that said hello speaks, and no other"
        if isinstance(answer, wire.Who):
            self.answers.append((frame.producer, answer))
            return
        assert isinstance(answer, Taken) == (frame.first == taken + 1), "only the next number is taken"
        assert isinstance(answer, Old) == (frame.first + frame.events - 1 <= taken), "only what is there is old"
        if isinstance(answer, Taken):
            self.queued.append(answer.entry)
        elif not isinstance(answer, Old):
            assert isinstance(answer, wire.Nack)
            assert answer.expected == taken + 1, "sent to a wrong number"
            self.answers.append((frame.producer, answer))

    @precondition(lambda self: self.queued)
    @rule(count=st.integers(1, 4))
    def sync(self, count: int) -> None:
        group, self.queued = self.queued[:count], self.queued[count:]
        for entry in group:
            self.position += 1
            self.ledger.apply(entry, self.position)
            if entry.kind == EVENTS:
                self.jobs[entry.producer].journal += [event[0] for event in events_of(entry.payload)]
        self.producers.take_durable(group)

    @rule(name=st.sampled_from(NAMES), share=st.floats(0, 1))
    def write(self, name: str, share: float) -> None:
        job = self.jobs[name]
        job.written = max(job.written, int(share * len(job.journal)))
        self.producers.take_written({name: job.written})

    @rule(sends=st.booleans())
    def tell(self, sends: bool) -> None:
        for one, frame in self.producers.news(lambda *_: None):
            job = self.jobs[one.id]
            durable = frame.expected - 1 if isinstance(frame, wire.Welcome) else frame.durable
            assert durable <= len(job.journal), "acked what is not durable"
            assert frame.written <= job.written, "said to be written, and is not"
            if sends:
                self.answers.append((one.id, frame))
                self.producers.told(one, frame)

    @rule(rarely=st.integers(0, 3))
    def lose_connections(self, rarely: int) -> None:
        for one in [] if rarely < 3 else self.producers:
            self.producers.lost_connection(one)
            self.bound.pop(one.id, None)

    @rule()
    def agent_restarts(self) -> None:
        """What was not durable goes; what it had sent may still arrive."""
        self.queued.clear()
        self.bound.clear()
        self.ledger = Ledger.load(msgpack.unpackb(msgpack.packb(self.ledger.dump()), strict_map_key=False))
        self.producers = Producers(self.ledger)
        for job in self.jobs.values():
            one = self.producers.get(job.name)
            if one and job.is_gone:
                self._adopt(job)

    @rule(name=st.sampled_from(NAMES), rarely=st.integers(0, 4))
    def job_dies_and_is_adopted(self, name: str, rarely: int) -> None:
        job = self.jobs[name]
        if rarely == 4 and not job.is_gone and self.producers.get(name):
            job.is_gone = True
            self._adopt(job)

    def _adopt(self, job: Job) -> None:
        one = self.producers.get(job.name)
        assert one is not None
        self.producers.adopt(one, job.acked)
        self.bound.pop(job.name, None)
        while one.next <= job.logged:
            batch = job.batch(one.next, min(one.next + 2, job.logged))
            self.queued.append(self.producers.take(one, batch.first, batch.events, batch.payload).entry)

    @rule()
    def the_network_gets_better(self) -> None:
        """Then all that was logged becomes durable."""
        self.frames.clear()
        self.answers.clear()
        for _ in range(200):
            for name, job in self.jobs.items():
                if not job.is_greeted or job.next > job.logged:
                    self.say_hello(name, anew=False, stays=False)
                self._ship(name, [4])
            for step in (self.frame_arrives, self.answer_arrives):
                while self.frames if step == self.frame_arrives else self.answers:
                    step(1, "take")
            while self.queued:
                self.sync(4)
            self.tell(sends=True)
            if all(job.acked == job.logged or job.is_gone for job in self.jobs.values()):
                break
        for job in self.jobs.values():
            assert len(job.journal) == job.logged, "it does not get on"
            assert job.is_gone or job.acked == job.logged

    @invariant()
    def nothing_is_said_that_is_not_so(self) -> None:
        self.tell(sends=False)

    @invariant()
    def each_number_is_journalled_once_and_in_order(self) -> None:
        for job in self.jobs.values():
            assert job.journal == list(range(1, len(job.journal) + 1))
            assert job.acked <= len(job.journal) <= job.logged
            row = self.ledger.rows.get(job.name)
            assert (row.next if row else 1) == len(job.journal) + 1


TestProducers = ProducersModel.TestCase
TestProducers.settings = depth(100, 50)
