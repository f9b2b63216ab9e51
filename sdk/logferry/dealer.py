"""The producer's end of its connection to the agent: frames out without waiting, frames in, and the wait for more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import zmq

from logferry import wire
from logferry.bell import Bell

# Frames that wait in ZeroMQ are copies that nobody can adopt; two keep the pipe busy.
_SEND_HIGH_WATER = 2
# Plain numbers: an enum's operators run longer than what is done with them.
_IN, _NOW, _MORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


class Dealer:
    """A connected socket; used by one thread. `blocked`: a frame of this turn found no room, or no connection."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.blocked = False

    def send(self, frame: wire.Frame) -> bool:
        """Hand a frame over; False, and nothing was sent, where it would have to wait."""
        *parts, last = wire.encode(frame)
        try:
            for part in parts:
                self._socket.send(part, _MORE)
            self._socket.send(last, _NOW)
        except zmq.Again:
            self.blocked = True
            return False
        return True

    def received(self) -> Iterator[wire.Frame | wire.Bad]:
        """Yield what has come."""
        while int(self._socket.getsockopt(zmq.EVENTS)) & _IN:
            part = self._socket.recv(copy=False)
            parts = [part.bytes]
            while part.more:
                part = self._socket.recv(copy=False)
                parts.append(part.bytes)
            yield wire.decode(parts)

    def wait(self, bell: Bell, seconds: float, *, for_news: bool) -> bool:
        """Wait until the bell rings or, `for_news`, something comes or can be sent; return whether anything did."""
        if not for_news:
            return bell.wait(seconds)
        poller = zmq.Poller()
        poller.register(bell.fileno(), zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN | zmq.POLLOUT if self.blocked else zmq.POLLIN)
        found = poller.poll(ceil(seconds * 1000))
        if any(source == bell.fileno() for source, _ in found):
            bell.hear()
        return bool(found)


@contextmanager
def connected(address: str) -> Iterator[Dealer]:
    """Give a dealer that connects to `address`, and goes on trying as long as it is open.

    Raises:
        zmq.ZMQError: it is no address.

    """
    context = zmq.Context()
    try:
        with context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            # Batches for an agent that is not there would arrive before the hello, and twice.
            socket.immediate = True
            socket.sndhwm = _SEND_HIGH_WATER
            socket.reconnect_ivl = 50
            socket.reconnect_ivl_max = 1000
            # An agent that comes back hears of this producer even when there is nothing to ship.
            socket.probe_router = 1
            socket.connect(address)
            yield Dealer(socket)
    finally:
        context.term()
