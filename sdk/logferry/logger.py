"""The levelled log methods: what happens on the caller's thread.

Level check, time stamp, pack, checksum, one copy into mapped memory; nothing else, and never an exception, except what
a signal's handler raises meanwhile. Whatever does not go this way (a value that msgpack does not know, a full segment,
a level that is being shed) takes the slow path in `_emit_slowly`, in `events.pack_event` and in `buffer.Buffer`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import msgpack

from logferry.buffer import frame
from logferry.diagnostics import complain
from logferry.events import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    MAX_EVENT_BYTES,
    WARNING,
    pack_event,
)
from logferry.hot import Hot
from logferry.interruption import let_through
from logferry.segment import record_head

_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def emit(hot: Hot, level: int, event: str, message: str | None, fields: dict[str, Any]) -> None:
    """Log one event that the level check let pass. Never raises."""
    stamp = hot.clock()
    if hot.busy:  # called by code of a value that is being packed right now: the packer is taken
        _emit_slowly(hot, stamp, level, event, message, fields)
        return
    hot.busy = True  # no call since the question: no other thread can have come in between
    try:
        packed = hot.pack([stamp, level, event, message, fields])
    except TypeError:  # a value that msgpack does not know, which is too common for a look at who raised it
        packed = b""
    except Exception as error:  # a value whose own code raised
        let_through(error)
        packed = b""
    finally:
        hot.busy = False
    if not 0 < len(packed) <= MAX_EVENT_BYTES:
        if packed:  # a packer keeps memory for the largest event that it ever saw
            hot.pack = new_packer()
        _emit_slowly(hot, stamp, level, event, message, fields)
        return
    try:
        hot.write(record_head(0xCE, len(packed), 0xCE, crc32(packed)) + packed)
    except ValueError as error:
        let_through(error)
        _append(hot, level, packed)


def new_packer() -> Callable[[Any], bytes]:
    """Return what packs an event: without the GIL a shared one would need a lock, and one per call is as cheap."""
    pack: Callable[[Any], bytes] = msgpack.Packer().pack if _GIL else msgpack.packb
    return pack


def _emit_slowly(hot: Hot, stamp: int, level: int, event: Any, message: Any, fields: dict[str, Any]) -> None:
    try:
        packed = pack_event(stamp, level, event, message, fields)
    except Exception as error:  # nothing that a user passes may reach this; if it does, the job goes on
        let_through(error)
        complain("event", f"an event could not be packed ({type(error).__name__}: {error})")
        return
    _append(hot, level, packed)


def _append(hot: Hot, level: int, packed: bytes) -> None:
    try:
        hot.append(level, frame(packed))
    except Exception as error:  # a log call never raises into the job
        let_through(error)
        complain("append", f"an event could not be kept ({type(error).__name__}: {error})")


class Logger:
    """Log methods of a run, with fields of its own that every event carries.

    A field may have any name and any value: values become plain data or a short description, fields named like a part
    of the line are shown under `extra`.
    """

    __slots__ = ("__weakref__", "_fields", "_hot")

    def __init__(self, hot: Hot, fields: dict[str, Any]) -> None:
        self._hot = hot
        self._fields = fields

    def debug(self, event: str, message: str | None = None, /, **fields: Any) -> None:
        """Log step-by-step detail."""
        hot = self._hot
        if hot.threshold > DEBUG and (hot.level > DEBUG or not hot.admit(DEBUG)):
            return
        emit(hot, DEBUG, event, message, {**self._fields, **fields} if self._fields else fields)

    def info(self, event: str, message: str | None = None, /, **fields: Any) -> None:
        """Log a high-level event: start, end, an epoch, a key figure."""
        hot = self._hot
        if hot.threshold > INFO and (hot.level > INFO or not hot.admit(INFO)):
            return
        emit(hot, INFO, event, message, {**self._fields, **fields} if self._fields else fields)

    def warning(self, event: str, message: str | None = None, /, **fields: Any) -> None:
        """Log an unusual condition that does not stop the run but may affect its result."""
        hot = self._hot
        if hot.threshold > WARNING and (hot.level > WARNING or not hot.admit(WARNING)):
            return
        emit(hot, WARNING, event, message, {**self._fields, **fields} if self._fields else fields)

    def error(self, event: str, message: str | None = None, /, **fields: Any) -> None:
        """Log a serious problem: a failure, a crash, a loss of results."""
        hot = self._hot
        if hot.threshold > ERROR and (hot.level > ERROR or not hot.admit(ERROR)):
            return
        emit(hot, ERROR, event, message, {**self._fields, **fields} if self._fields else fields)

    def critical(self, event: str, message: str | None = None, /, **fields: Any) -> None:
        """Log a problem after which the run cannot go on."""
        hot = self._hot
        if hot.threshold > CRITICAL and (hot.level > CRITICAL or not hot.admit(CRITICAL)):
            return
        emit(hot, CRITICAL, event, message, {**self._fields, **fields} if self._fields else fields)

    def exception(self, event: str, message: str | None = None, /, **fields: Any) -> None:
        """Log an error with the exception that is being handled: fields `exception` and `traceback`."""
        self.error(event, message, **{**exception_fields(sys.exc_info()[1]), **fields})

    def log(self, metrics: Mapping[str, Any], /, step: int | None = None, **fields: Any) -> None:
        """Log a step's metrics: an INFO event named "Metrics".

        Args:
            metrics: name → value; they become the event's fields.
            step: the step they belong to; any order, any number of times.
            fields: further fields.

        """
        try:
            named = {str(key): value for key, value in metrics.items()}
        except Exception as error:  # not a mapping, or a broken one: kept as what it is
            let_through(error)
            named = {"metrics": metrics}
        self.at(INFO, "Metrics", None, {**({} if step is None else {"step": step}), **named, **fields})

    def at(self, level: int, event: str, message: str | None, fields: dict[str, Any]) -> None:
        """Log with a level that is only known at run time, above 0; for bridges such as `Handler`."""
        hot = self._hot
        if hot.threshold > level and (hot.level > level or not hot.admit(level)):
            return
        emit(hot, level, event, message, {**self._fields, **fields} if self._fields else fields)

    def bind(self, /, **fields: Any) -> Logger:
        """Return a logger whose events carry these fields too."""
        return Logger(self._hot, {**self._fields, **fields})


def exception_fields(error: BaseException | None) -> dict[str, str]:
    """Return the fields that describe an exception; empty without one."""
    if error is None:
        return {}
    from traceback import TracebackException  # noqa: PLC0415 - most jobs never fail

    try:
        text = "".join(TracebackException.from_exception(error, compact=True).format())
        said = f"{type(error).__name__}: {error}"
    except Exception as failed:  # the exception's own __str__ fails
        let_through(failed)
        text, said = "", type(error).__name__
    return {"exception": said, "traceback": text.rstrip("\n")}
