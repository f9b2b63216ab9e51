"""Stands in for the agent on a real socket: says what a test tells it to, and remembers what it was sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from logferry import wire
from support.records import events_of


class FakeAgent:
    """A ROUTER on `path`; `until` receives, and answers as `acks`, `welcomes` and `level` say."""

    def __init__(self, path: Path) -> None:
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.rcvhwm = 2  # as the agent's: what it does not read waits with the producer
        self._router.bind(f"ipc://{path}")
        self.welcomes = self.acks = True
        self.window = wire.WINDOW_BYTES
        self.level: int | None = None
        self.durable = 0
        self.frames: list[Any] = []
        self.times: list[float] = []
        self.identity = b""

    @property
    def batches(self) -> list[wire.Batch]:
        return [frame for frame in self.frames if isinstance(frame, wire.Batch)]

    @property
    def names(self) -> list[str]:
        """Names of the users' events, in the order of their batches."""
        return [event[2] for batch in self.batches for event in events_of(batch.payload) if event[1]]

    def send(self, frame: wire.Frame) -> None:
        self._router.send_multipart([self.identity, *wire.encode(frame)])

    def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Receive and answer until the condition holds; fail when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"in vain; came so far: {[type(one).__name__ for one in self.frames]}"
            self._turn()
        return found

    def listen(self, seconds: float) -> None:
        """Receive and answer for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn()

    def _turn(self) -> None:
        if not self._router.poll(5):
            return
        self.identity, *parts = self._router.recv_multipart()
        if parts == [b""]:
            return
        frame = wire.decode(parts)
        self.frames.append(frame)
        self.times.append(time.monotonic())
        if isinstance(frame, wire.Hello) and self.welcomes:
            self.send(wire.Welcome(frame.producer, self.durable + 1, self.level, self.window, 0))
        elif isinstance(frame, wire.Batch) and self.acks:
            if frame.first == self.durable + 1:
                self.durable = frame.first + frame.events - 1
                self.send(wire.Ack(frame.producer, self.durable, 0))
            elif frame.first > self.durable + 1:
                self.send(wire.Nack(frame.producer, self.durable + 1, "expected"))

    def close(self) -> None:
        self._router.close()
        self._context.term()
