"""What ends the sleep of a thread that polls descriptors: a pipe that may be rung from anywhere."""

from __future__ import annotations

import os
import select
from math import ceil

from logferry.interruption import let_through


class Bell:
    """Rung by any thread or signal handler, heard by the one that polls `fileno`."""

    def __init__(self) -> None:
        self._ear, rope = os.pipe()
        os.set_blocking(rope, False)
        # A file object knows that it is closed; the bare number might belong to somebody else by then.
        self._rope = open(rope, "wb", buffering=0)  # noqa: SIM115 - open as long as somebody listens
        self._poll = select.poll()
        self._poll.register(self._ear, select.POLLIN)

    def fileno(self) -> int:
        return self._ear

    def ring(self) -> None:
        """Never waits and never raises: a full pipe rings already, a closed one has nobody to hear it."""
        try:
            self._rope.write(b"!")
        except (OSError, ValueError) as error:
            let_through(error)

    def hear(self) -> None:
        """Wait until it was rung, and take that back."""
        os.read(self._ear, 4096)

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until it was rung, and take that back; return whether it was."""
        rung = bool(self._poll.poll(ceil(seconds * 1000)))
        if rung:
            self.hear()
        return rung

    def close(self) -> None:
        self._rope.close()
        os.close(self._ear)
