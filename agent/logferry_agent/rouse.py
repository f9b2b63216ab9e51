"""What wakes producers that rest without a connection: a FIFO beside the socket that the agent holds open.

Each of them has opened it for reading and polls it. Nothing is ever written: the agent lets it hang up, by ending or by
putting another one in its place, and all who rest connect again. The file that hung up is never opened again, so that
also who was stopped meanwhile sees it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

_log = logging.getLogger(__name__)


class Rouse:
    """Holds the FIFO at `path` from `renew` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def renew(self) -> None:
        """Wake all who rest. Where no other FIFO can be made, nobody rests any more."""
        held, self._fd = self._fd, -1
        try:
            self._path.unlink(missing_ok=True)
            os.mkfifo(self._path, 0o600)
            self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            _log.info("silent producers stay connected: %s: %s", self._path, error.strerror)
        finally:
            if held >= 0:
                os.close(held)

    def close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1
