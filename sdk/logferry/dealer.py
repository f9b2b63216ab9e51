"""The producer's end of its connection to the agent: frames out without waiting, frames in, and the wait for more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil

import zmq

from logferry import wire
from logferry.bell import Bell

# Frames that wait in ZeroMQ are copies that nobody can adopt; two keep the pipe busy.
_SEND_HIGH_WATER = 2
# Plain numbers: an enum's operators run longer than what is done with them.
_IN, _NOW, _MORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


class Dealer:
    """A socket that is connected unless it rests; used by one thread.

    `blocked`: a frame of this turn found no room, or no connection.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self._socket, self._address = socket, address
        self._rouse: int | None = None
        self.blocked = self.rests = False
        socket.connect(address)

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
        if self._rouse is not None:
            poller.register(self._rouse, zmq.POLLIN)
        found = dict(poller.poll(ceil(seconds * 1000)))
        if bell.fileno() in found:
            bell.hear()
        if self._rouse in found:  # it hung up
            self.stay()
        return bool(found)

    @property
    def is_rousable(self) -> bool:
        return self._rouse is not None

    def be_rousable(self) -> bool:
        """Have `wait` end when the agent rouses all; return whether it can."""
        self.stay()
        with suppress(OSError):
            self._rouse = os.open(wire.rouse_path(self._address), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return self.is_rousable

    def rest(self) -> None:
        """Let the connection go, if an agent holds the other end of what rouses, and has since `be_rousable`."""
        if self._is_held():
            self._socket.disconnect(self._address)
            self.rests = True
        else:
            self.stay()

    def _is_held(self) -> bool:
        try:
            if self._rouse is not None:
                os.read(self._rouse, 1)
        except BlockingIOError:  # at an end of file nobody holds the other end
            return True
        except OSError:  # no FIFO
            pass
        return False

    def close(self) -> None:
        if self._rouse is not None:
            os.close(self._rouse)
            self._rouse = None

    def stay(self) -> None:
        """Be connected, and not roused any more."""
        self.close()
        if self.rests:
            self.rests = False
            self._socket.connect(self._address)


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
            dealer = Dealer(socket, address)
            try:
                yield dealer
            finally:
                dealer.close()
    finally:
        context.term()
