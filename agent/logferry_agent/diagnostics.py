"""The agent's own diagnostics: lines on stderr, repeats filtered by time, never through logferry itself."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from logferry.cli import printable

# One line of a kind per interval says as much as a thousand; the count of the rest comes with the next.
_INTERVAL_S = 10.0
# Lines of a kind that always come through, so that a short burst is told whole.
_BURST = 5


class RepeatFilter(logging.Filter):
    """Lets a few records of each kind (logger and format) through per interval, and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, str(record.msg))
        since, count = self._seen.get(key, (self._clock(), 0))
        if self._clock() - since >= _INTERVAL_S:
            if count > _BURST:
                record.msg = f"{record.msg} (and {count - _BURST} more like it)"
            since, count = self._clock(), 0
        self._seen[key] = (since, count + 1)
        return count < _BURST


class _Printable(logging.Formatter):
    # As in every file of ours; local time has an hour twice a year that says two things.
    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def set_up(level: int = logging.INFO) -> None:
    """Send what this package says to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(asctime)s logferry agent: %(levelname)s: %(message)s"))
    handler.addFilter(RepeatFilter())
    log = logging.getLogger("logferry_agent")
    log.setLevel(level)
    log.propagate = False
    log.handlers[:] = [handler]
