"""The ROUTER socket: frames in, acks and level changes out.

One asyncio reader on the socket's descriptor. That descriptor is edge-triggered: after anything that was received or
sent there may be more without a new edge, so turns follow each other until the socket has no more. A turn is bounded,
so that timers and acks get theirs under load; ZeroMQ takes frames fairly across connections. With a thousand producers
nearly every frame is a small one, and what it costs is what the agent costs: what a turn brought goes to the journal
at once, and all news of one turn of the loop are told together.

Input is untrusted: what does not decode is counted by reason, refused, and disturbs no other producer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import zmq

from logferry import wire
from logferry.killpoints import passed
from logferry_agent.journal import Entry, Journal
from logferry_agent.producers import Answer, Producer, Producers, Refused, Run, Taken
from logferry_agent.rouse import Rouse

_log = logging.getLogger(__name__)
# Plain numbers: joining two flags of an enum takes longer than sending a part.
_NOW, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
# A turn takes as long as it had to wait for, within these bounds: a half of the loop is for frames, if they need it.
# By a number of frames, those of a thousand producers waited for seconds while as many outputs had their turns.
_SHORTEST_TURN_S, _LONGEST_TURN_S = 0.002, 0.02
# A turn costs several hand-overs between threads, whatever it brings. Producers in such a crowd gather for far longer
# before they ship, so reading rests for a moment after each turn that has taken all there was.
_GATHER_S = 0.02
# After so long, and at the latest after twice that, what became durable is told though it is not written yet.
_OLD_S = 0.25
# More than this queued for the journal only moves the queue from the producers' spools into memory.
QUEUE_BYTES = 32 << 20
# Larger frames end the connection inside ZeroMQ, before memory is used for them.
_LARGEST_BYTES = 2 * wire.MAX_FRAME_BYTES
_MAX_PARTS = 8
_MAX_QUESTIONS = 64


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the receiver needs of others.

    `full` says whether a run's batches are refused for now; `met` is told of who said hello.
    """

    full: Callable[[Run], bool]
    level_for: Callable[[str, str], int | None]
    checkpoint: Callable[[str, str], None]
    answer: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
    met: Callable[[str, dict[str, Any]], None]


class Receiver:
    """The agent's socket at `address`; `start` binds and needs a running loop."""

    def __init__(self, address: str, producers: Producers, journal: Journal, hooks: Hooks) -> None:
        self._address, self._producers, self._journal, self._hooks = address, producers, journal, hooks
        self.refused: Counter[str] = Counter()
        self.frames = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        # Frames that wait in ZeroMQ are copies of what the spools hold: a thousand producers times two are enough.
        self._socket.rcvhwm = 2
        self._socket.sndhwm = 64
        self._socket.backlog = 1024
        self._socket.linger = 0
        self._socket.maxmsgsize = _LARGEST_BYTES
        self._socket.router_mandatory = True
        self._paused = self._closing = False
        self._turn: asyncio.Handle | None = None
        self._turn_asked_s = 0.0
        self._telling: asyncio.Handle | None = None
        self._ageing: asyncio.Handle | None = None
        self._taken: list[Entry] = []  # in this turn, not yet given to the journal
        self._taken_bytes = 0
        self._took = False  # anything, since reading rested
        self._questions: set[asyncio.Task[None]] = set()
        self._rouse = Rouse(wire.rouse_path(address))

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket.bind(self._address)
        self._fd = int(self._socket.fd)
        self._loop.add_reader(self._fd, self._again)
        self._again()
        self._rouse.renew()

    def stop(self) -> None:
        self._closing = True
        self._loop.remove_reader(self._fd)
        for handle in (self._turn, self._telling, self._ageing):
            if handle:
                handle.cancel()
        for question in self._questions:
            question.cancel()
        self._rouse.close()
        self._socket.close()
        self._context.term()

    def take_no_more(self) -> None:
        """Read no more; acks still go out."""
        self._closing = True
        self._loop.remove_reader(self._fd)

    def take_durable(self, entries: Iterable[Entry]) -> None:
        """Ack what the journal made durable, once per producer however many batches that were."""
        self._producers.take_durable(entries)
        self._tell()

    def take_written(self, written: dict[str, int]) -> None:
        self._producers.take_written(written)
        self.tell()

    @property
    def has_more_to_do(self) -> bool:
        """Say whether something could not be sent when it was due, or reading waits for the journal."""
        return self._paused or self._producers.has_news

    def tell(self) -> None:
        """Send what is due, all at once and soon; go on reading if the journal has room again."""
        if self._telling is None:
            self._telling = self._loop.call_soon(self._tell_later)

    def _tell_later(self) -> None:
        self._telling = None
        self._tell()

    def _tell(self) -> None:
        for one, frame in self._producers.news(self._hooks.level_for):
            if self._send_to(one, frame):
                self._producers.told(one, frame)
                passed("ack.sent")
        if self._producers.held_back and self._ageing is None:
            self._ageing = self._loop.call_later(_OLD_S, self._age)
        if self._paused and (self._has_room() or self._journal.held):
            self._paused = False
        self._again()

    def _age(self) -> None:
        self._ageing = None
        self._producers.age()
        self._tell()

    def push_levels(self) -> None:
        """Tell every connected producer whose level has changed; who rests comes and is told."""
        for one in self._producers:
            level = self._hooks.level_for(*one.run)
            if one.identity and not one.greet and level != one.level and self._send_to(one, wire.Level(one.id, level)):
                one.level = level
        self._rouse.renew()
        self._again()

    def reachable(self, one: Producer) -> bool:
        """Say whether the producer's connection is there, by telling it the level that it has."""
        reached = one.identity is not None and (
            self._send_to(one, wire.Level(one.id, one.level)) or one.identity is not None
        )
        self._again()
        return reached

    # reading

    def _again(self) -> None:
        if self._turn is None and not self._paused and not self._closing:
            self._turn_asked_s = self._loop.time()
            self._turn = self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        try:
            more = self._take_frames()
        finally:
            taken, self._taken, self._taken_bytes = self._taken, [], 0
            self._took = self._took or bool(taken)
            if taken:
                self._journal.append(taken)
        if more:
            self._again()
        elif self._took and self._producers.is_crowd:
            self._took = False
            # Meanwhile the descriptor may be readable all the time.
            self._loop.remove_reader(self._fd)
            self._turn = self._loop.call_later(_GATHER_S, self._rested)

    def _rested(self) -> None:
        self._turn = None
        if not self._closing:
            self._loop.add_reader(self._fd, self._again)
            self._again()

    def _take_frames(self) -> bool:
        """Take the frames of one turn; say whether there may be more."""
        now = self._loop.time()
        end = now + min(max(_SHORTEST_TURN_S, now - self._turn_asked_s), _LONGEST_TURN_S)
        while self._loop.time() < end:
            if self._closing:
                return False
            if not self._has_room() and not self._journal.held:
                self._paused = True
                return False
            found = self._receive()
            if not found:
                return False
            self.frames += 1
            try:
                self._handle(found[0], found[1:])
            except Exception:  # whatever it holds, the next frame is somebody else's
                _log.exception("unexpected, please report")
                self.refused["unexpected"] += 1
        return True

    def _receive(self) -> list[bytes]:
        """Receive one message, nothing where there is none; of one with too many parts only the first are kept."""
        try:
            part = self._socket.recv(_NOW, copy=False)
        except zmq.Again:
            return []
        parts = [part.bytes]
        while part.more:
            part = self._socket.recv(_NOW, copy=False)
            if len(parts) < _MAX_PARTS:
                parts.append(part.bytes)
        return parts

    def _append(self, entry: Entry) -> None:
        self._taken.append(entry)
        self._taken_bytes += len(entry.payload)

    def _has_room(self) -> bool:
        return self._journal.queued_bytes + self._taken_bytes < QUEUE_BYTES

    def _handle(self, identity: bytes, parts: list[bytes]) -> None:
        if parts == [b""]:  # a probe: somebody connected, and may have been known to an agent before
            self._send(identity, wire.Who(""))
            return
        frame = wire.decode(parts)
        if isinstance(frame, wire.Batch):
            self._batch(frame, identity)
        elif isinstance(frame, wire.Hello):
            self._hello(frame, identity)
        elif isinstance(frame, wire.Flush):
            one = self._producers.get(frame.producer)
            if one and one.identity == identity:
                self._producers.wait(one)
                if frame.written:
                    self._hooks.checkpoint(*one.run)
                self.tell()
        elif isinstance(frame, wire.Ask):
            self._ask(frame, identity)
        elif isinstance(frame, wire.Bad):
            self._refuse(Refused(frame.reason, frame.detail))
        else:
            self._refuse(Refused("kind", f"{type(frame).__name__} is not for an agent"))

    def _refuse(self, refused: Refused) -> None:
        self.refused[refused.reason] += 1
        _log.warning("refused a frame (%s): %a", refused.reason, refused.detail)

    def _hello(self, frame: wire.Hello, identity: bytes) -> None:
        entry = self._producers.hello(frame, identity)
        if isinstance(entry, Refused):
            self._refuse(entry)
            return
        if entry:
            self._append(entry)
        one = self._producers.get(frame.producer)
        if one:
            self._hooks.met(one.id, one.about)
            self._producers.wants_news(one)
            self.tell()

    def _batch(self, batch: wire.Batch, identity: bytes) -> None:
        one = self._producers.get(batch.producer)
        if one and one.identity == identity and self._is_full(one):
            self._send_to(one, wire.Nack(one.id, one.next, "full"))
            return
        answer: Answer = self._producers.offer(batch, identity)
        if isinstance(answer, Taken):
            self._append(answer.entry)
        elif isinstance(answer, wire.Nack | wire.Who):
            self._send(identity, answer)
        elif isinstance(answer, Refused):
            self._refuse(answer)
        else:
            self.tell()

    def _is_full(self, one: Producer) -> bool:
        return not self._has_room() or self._hooks.full(one.run)

    def _ask(self, frame: wire.Ask, identity: bytes) -> None:
        if len(self._questions) >= _MAX_QUESTIONS:
            self._refuse(Refused("busy", f"{_MAX_QUESTIONS} questions are being answered"))
            return
        task = self._loop.create_task(self._answer(frame, identity))
        self._questions.add(task)
        task.add_done_callback(self._questions.discard)

    async def _answer(self, frame: wire.Ask, identity: bytes) -> None:
        try:
            said = await self._hooks.answer(frame.verb, frame.arguments)
        except Exception as error:  # a question must not end the agent, whatever it asks
            _log.exception("cannot answer %a", frame.verb)
            said = {"error": f"{type(error).__name__}: {error}"}
        self._send(identity, wire.Answer(said))
        self._again()

    # sending

    def _send_to(self, one: Producer, frame: wire.Frame) -> bool:
        sent = one.identity is not None and self._send(one.identity, frame)
        if sent is None:
            self._producers.lost_connection(one)
        return bool(sent)

    def _send(self, identity: bytes, frame: wire.Frame) -> bool | None:
        """Send a frame; False where the peer takes no more for now, None where it is gone."""
        *parts, last = wire.encode(frame)
        try:
            self._socket.send(identity, _MORE)
            for part in parts:
                self._socket.send(part, _MORE)
            self._socket.send(last, _NOW)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return None
            raise
        return True
