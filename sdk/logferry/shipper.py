"""The one background thread of a run: spool → DEALER → ack → trim.

It never makes a log call wait and is never needed for what was logged to survive: whatever it did not ship, the agent
adopts. It ships the first event after a pause at once, and others within 5 ms where it is alone on its node; in company
it gathers for longer (see company.py), unless much comes or somebody waits: each batch costs job and agent some
hand-overs between threads. It goes back to where the agent says, prepares segments ahead of the calls, and sleeps when
nothing happens; the next call or frame of the agent's wakes it. After two minutes it lets its connection go until then.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from logferry import wire
from logferry.bell import Bell
from logferry.buffer import Buffer, Unsent
from logferry.company import Company, has_agent
from logferry.dealer import Dealer, connected
from logferry.diagnostics import complain
from logferry.layout import NodeDir

# What ships at once, in company too.
_LARGE_BATCH_BYTES = 64 << 10
# Whoever came past the level check before the thread fell asleep does not wake it: the first sleep is a short one, and
# sees what such a call has left. Nothing else needs the end of a sleep.
_NAP_S, _SLEEP_S = 1.0, 30.0
# After so many full sleeps in a row a producer rests: ZeroMQ has an agent keep 50 KiB for a connection that carried
# some dozens of frames, and more after hundreds. To let it go and connect again costs the agent less than a batch does.
_SLEEPS = 4
# Nothing acked for so long: the agent may be another one than the one that was greeted, or a greeting was lost. One
# that is only busy has the more to do the more producers greet it again: each greeting doubles that time, and each ack
# takes a tenth off. A new agent is not waited for: it asks who is there.
_PATIENCE_S, _LONGEST_PATIENCE_S = 1.0, 8.0
# While nobody waits for them, acks of several batches are read at once: that is a third of what a batch costs the job.
_NEWS_S = 0.9  # less than patience
# After a refusal that only time can mend.
_PAUSE_S = 0.5
# One that runs may be busy: after a start with a thousand producers, or on a disk that hangs.
_NO_AGENT_S, _SILENT_AGENT_S = 10.0, 60.0
# The agent renders a batch at a stretch: a thousand events are a few milliseconds that all others wait.
_FRAME_BYTES = 128 << 10


class Flush:
    """Somebody waits until everything that was logged before is durable or written."""

    __slots__ = ("asked", "done", "target", "written")

    def __init__(self, written: bool) -> None:
        self.written = written
        self.done = threading.Event()
        self.target = 0
        self.asked = False


class Shipper:
    """Ships one producer's events.

    Args:
        buffer: where the events are.
        producer: the producer's id.
        about: what is constant for the producer, for the hello.
        address: the agent's ZeroMQ address.
        own_level: the run's level where the agent has none for it.
        where: what a user without an agent is told about where the events are.
        node: the node directory.

    """

    def __init__(
        self,
        buffer: Buffer,
        producer: str,
        about: dict[str, Any],
        address: str,
        own_level: int,
        where: str,
        node: NodeDir,
    ) -> None:
        self._buffer, self._producer, self._about, self._address = buffer, producer, about, address
        self._own_level, self._where, self._node = own_level, where, node
        self._company = Company(node, producer)
        self.durable = self.written = self.emitted = 0
        self._window = wire.WINDOW_BYTES
        self._greeted = False
        self._patience_s = _PATIENCE_S
        self._hello_at = self._batch_at = self._waiting_since = self._paused_until = 0.0
        self._told = self._welcomed = self._rested = False  # rested: slept, and nothing happened
        self._flushes: list[Flush] = []
        self._requests: list[Flush] = []
        self._tasks: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._stopping, self._sleeps = False, 0
        self._ended = threading.Event()
        self._bell = Bell()
        self.wake = buffer.wake = self._bell.ring
        self._thread = threading.Thread(target=self._run, name=f"logferry-{producer}", daemon=True)

    def start(self) -> None:
        """Start the thread. Where the system refuses it, the agent adopts what the process leaves behind."""
        try:
            self._thread.start()
        except RuntimeError as error:
            complain("shipper", f"no thread ({error}): nothing is shipped before this process ends; {self._where}")
            self._close()

    def submit(self, task: Callable[[], None]) -> threading.Event:
        """Run `task` on the thread; the event returned is set when it is done, or never will be."""
        done = threading.Event()
        self._tasks.append((task, done))
        self.wake()
        if self._ended.is_set():
            done.set()
        return done

    def flush(self, written: bool, timeout: float) -> None:
        """Wait until all that was logged before is durable (or written), at most `timeout` seconds."""
        request = Flush(written)
        self._requests.append(request)
        self.wake()
        if not self._ended.is_set():
            request.done.wait(max(0.0, timeout))

    def stop(self, timeout: float) -> bool:
        """Ship what can be shipped now and end the thread; return whether it ended in time."""
        self._stopping = True
        self.wake()
        return self._ended.wait(max(0.0, timeout))

    # --- on the thread ---

    def _run(self) -> None:
        try:
            with connected(self._address) as dealer:
                self._loop(dealer)
        except Exception as error:  # the events stay in the spool, where the agent adopts them later
            complain("shipper", f"shipping to {self._address} stopped ({type(error).__name__}: {error}); {self._where}")
            self._stay_for_tasks()
        finally:
            self._close()

    def _stay_for_tasks(self) -> None:
        """Go on with what needs no agent: the result's file, and segments ahead of the calls."""
        while not self._stopping:
            self._do_tasks()
            self._buffer.prepare()
            self._buffer.sleep()
            self._bell.hear()
        self._do_tasks()

    def _close(self) -> None:
        self._ended.set()
        for flush in self._flushes + self._requests:
            flush.done.set()
        for _, done in self._tasks:
            done.set()
        self._bell.close()

    def _loop(self, dealer: Dealer) -> None:
        heard, for_news = monotonic(), True
        while not self._stopping:
            now = monotonic()
            dealer.blocked = False
            news = for_news or now - self._waiting_since > _NEWS_S
            if (news and self._receive(dealer)) or self._greeted:
                heard = now
            self._greet(dealer, now)
            self._ship(dealer, now)
            self._settle_flushes(dealer)
            self._do_tasks()
            self._buffer.prepare()
            if not self._told and not self._greeted:
                self._tell_silence(now - heard)
            wait_s, for_news = self._timeout(dealer, now)
            self._rested = not dealer.wait(self._bell, wait_s, for_news=for_news) and self._buffer.asleep
            self._rest(dealer, wait_s)
        self._do_tasks()
        self._ship(dealer, monotonic())

    def _rest(self, dealer: Dealer, slept_s: float) -> None:
        """Let the connection go after a long silence; with whatever happens then, connect again (see wire.py)."""
        if not self._rested or self._buffer.unread() or self._buffer.unacked_bytes() or self._flushes:
            self._sleeps = 0
            if dealer.rests:
                # The agent asks who this is as soon as the connection is there.
                self._greeted, self._hello_at, self._patience_s = False, monotonic(), _PATIENCE_S
            if self._welcomed:  # else it may be the welcome that has come
                dealer.stay()
        elif dealer.rests:
            return
        elif dealer.is_rousable and self._welcomed:
            dealer.rest()
        elif slept_s >= _SLEEP_S:
            self._sleeps += 1
            if self._sleeps == _SLEEPS and self._about["spool"] != "memory" and dealer.be_rousable():
                self._welcomed = False
                dealer.send(wire.Hello(self._producer, self._buffer.head.acked_through, self._about))

    def _tell_silence(self, seconds: float) -> None:
        """Say once that nobody takes the events, if nobody does for so long."""
        if seconds > _SILENT_AGENT_S:
            self._told = True
            complain("no agent", f"the agent at {self._address} has not answered for {seconds:.0f} s; {self._where}")
        elif seconds > _NO_AGENT_S and not has_agent(self._node):
            self._told = True
            complain("no agent", f"no agent for {seconds:.0f} s; {self._where}; start one with: logferry agent")

    def _do_tasks(self) -> None:
        while self._tasks:
            task, done = self._tasks.popleft()
            try:
                task()
            except Exception as error:  # a task that fails must not end the shipping
                complain("task", f"{type(error).__name__}: {error}")
            finally:
                done.set()

    def _timeout(self, dealer: Dealer, now: float) -> tuple[float, bool]:
        """Return how long to wait, in seconds, and whether a frame of the agent's is to end it."""
        if not self._greeted:
            # Asleep, because nothing can be shipped: only the first call has to ring, to have segments prepared.
            self._buffer.sleep()
            return max(0.0, self._hello_at + self._patience_s - now) or self._patience_s, True
        if now < self._paused_until:
            return self._paused_until - now, True
        if dealer.blocked:
            return _PATIENCE_S, True
        next_batch_s = max(0.0, self._batch_at - now)
        if waiting := self._buffer.unread():
            if waiting >= _LARGE_BATCH_BYTES:
                next_batch_s = 0.0
            room = self._buffer.unacked_bytes() < self._window
            return (next_batch_s, bool(self._flushes)) if room else (_PATIENCE_S, True)
        if next_batch_s:
            return next_batch_s, bool(self._flushes)
        if not self._buffer.sleep():
            return 0.0, True
        if self._buffer.unacked_bytes():
            return max(0.0, self._waiting_since + self._patience_s - now), True
        return (_SLEEP_S if self._rested and not self._buffer.is_full() else _NAP_S), True

    def _greet(self, dealer: Dealer, now: float) -> None:
        if self._greeted and self._buffer.unacked_bytes() and now - self._waiting_since > self._patience_s:
            self._greeted = False
        if self._greeted or now - self._hello_at < self._patience_s:
            return
        acked = self._buffer.head.acked_through
        if dealer.send(wire.Hello(self._producer, acked, self._about)):
            if self._hello_at:
                self._patience_s = min(2 * self._patience_s, _LONGEST_PATIENCE_S)
            self._hello_at = now

    def _ship(self, dealer: Dealer, now: float) -> None:
        if not self._greeted or now < self._paused_until:
            return
        hurry = self._stopping or self._requests or self._flushes
        if now < self._batch_at and not hurry and self._buffer.unread() < _LARGE_BATCH_BYTES:
            return
        while self._buffer.unread() and (room := self._window - self._buffer.unacked_bytes()) > 0:
            found = self._buffer.read(min(room, _FRAME_BYTES))
            if found is None:
                return
            if self._batch_at <= now:
                self._batch_at = self._company.next_batch_at(now)
            if self._buffer.unacked_bytes() == found.stop - found.start:  # nothing else is on its way
                self._waiting_since = now
            if not dealer.send(_batch(self._producer, found)):
                self._buffer.rewind(found.first)
                # With nothing on its way it is no full queue that refuses: there is no connection.
                self._greeted = self._buffer.unacked_bytes() > 0
                return
            self._buffer.prepare()  # calls go on while frames wait for the interpreter's lock, each for milliseconds

    def _receive(self, dealer: Dealer) -> bool:
        heard = False
        for frame in dealer.received():
            handle = _HANDLERS.get(type(frame))
            if handle is None:
                complain("frame", f"the agent sent what this version does not understand: {frame}")
            elif isinstance(frame, wire.Who) or frame[0] == self._producer:
                handle(self, frame)
                heard = True
        return heard

    def _on_welcome(self, frame: wire.Welcome) -> None:
        # Whoever is greeted said this hello before what it shipped since, of which the answer knows nothing: an ack.
        is_late = self._greeted and frame.expected <= self._buffer.next_number
        found = is_late or self._buffer.rewind(frame.expected)
        self._greeted = self._welcomed = True
        # A small spool would fill before acks are looked for that nobody waits for.
        self._window, self._waiting_since = max(1, min(frame.window, self._buffer.capacity // 4)), monotonic()
        self._on_level(frame)
        self._progress(frame.expected - 1, frame.written)
        if not found:
            complain("agent", f"the agent expects event {frame.expected}, which is not in the spool; {self._where}")

    def _on_ack(self, frame: wire.Ack) -> None:
        self._progress(frame.durable, frame.written)

    def _on_nack(self, frame: wire.Nack) -> None:
        self._buffer.rewind(frame.expected)
        if frame.reason != "expected":
            self._paused_until = monotonic() + _PAUSE_S

    def _on_who(self, _: wire.Who) -> None:
        self._greeted, self._hello_at, self._patience_s = False, 0.0, _PATIENCE_S

    def _on_level(self, frame: wire.Level | wire.Welcome) -> None:
        self._buffer.set_level(self._own_level if frame.level is None else frame.level)

    def _progress(self, durable: int, written: int) -> None:
        self.durable, self.written = max(self.durable, durable), max(self.written, written)
        if durable:
            # Anything that is acked shows that the agent is there: wait for the rest anew.
            self._waiting_since = monotonic()
            self._patience_s = max(_PATIENCE_S, 0.9 * self._patience_s)
            self._buffer.acked(durable)

    def _settle_flushes(self, dealer: Dealer) -> None:
        while self._requests:
            flush = self._requests.pop()
            flush.target = self._buffer.count()
            self._flushes.append(flush)
        for flush in list(self._flushes):
            if self._buffer.next_number <= flush.target:  # not shipped yet, or refused
                flush.asked = False
            elif not flush.asked and self._greeted:
                flush.asked = dealer.send(wire.Flush(self._producer, flush.written))
            if (self.written if flush.written else self.durable) >= flush.target:
                self._flushes.remove(flush)
                flush.done.set()


_HANDLERS: dict[type[Any], Callable[[Shipper, Any], None]] = {
    wire.Welcome: Shipper._on_welcome,  # noqa: SLF001 - its own table
    wire.Ack: Shipper._on_ack,  # noqa: SLF001
    wire.Nack: Shipper._on_nack,  # noqa: SLF001
    wire.Who: Shipper._on_who,  # noqa: SLF001
    wire.Level: Shipper._on_level,  # noqa: SLF001
}


def _batch(producer: str, found: Unsent) -> wire.Batch:
    with memoryview(found.segment.view()) as whole:
        payload = bytes(whole[found.start : found.stop])
    return wire.Batch(producer, found.first, found.events, zlib.crc32(payload), payload)
