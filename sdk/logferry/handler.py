"""A `logging.Handler` that turns the standard library's records into events.

The event's name is the logger's name, the message is the record's message; `extra`, exception and stack are fields. It
never recurses: records of pyzmq and of logferry itself are left out, and so is whatever is logged while a record is
being handled on the same thread.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from logferry.events import LEVEL_NAMES, level_name
from logferry.interruption import let_through
from logferry.logger import Logger, exception_fields
from logferry.session import current

_OURS = ("zmq", "logferry")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Handler(logging.Handler):
    """Send records to a run.

    Args:
        run: the run or bound logger; by default the active one at the time of each record.
        level: least level, as for any handler.

    """

    def __init__(self, run: Logger | None = None, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._run = run
        self._busy = threading.local()

    def createLock(self) -> None:  # noqa: N802 - the base class's name
        """Have no lock: an append needs none, and a lock may be held by another thread at a fork."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record if the filters let it pass; the base class's method wants a lock from Python 3.13 on."""
        passed: Any = self.filter(record)
        if passed:  # from Python 3.12 on a filter may return a record in place of the one that it was given
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Turn one record into one event. Never raises, as the base class's `handleError` may be set to."""
        if record.name.split(".", 1)[0] in _OURS or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            run = self._run if self._run is not None else current()
            # Level 0 is the system's own; a record without a level is detail.
            run.at(max(1, record.levelno), record.name, self._message(record), _fields(record))
        except Exception as error:  # a broken __str__ in somebody's argument
            let_through(error)
            self.handleError(record)
        finally:
            self._busy.now = False

    def _message(self, record: logging.LogRecord) -> str:
        return self.format(record) if self.formatter is not None else record.getMessage()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.levelno not in LEVEL_NAMES and record.levelname != level_name(record.levelno):
        fields["level_name"] = record.levelname
    if record.exc_info and record.exc_info[1] is not None:
        fields.update(exception_fields(record.exc_info[1]))
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields
