"""What an event is, and how any Python value becomes plain data.

An event is the msgpack array `[time_ns, level, event, message | nil, fields]`:

* `time_ns`: nanoseconds since the epoch, UTC.
* `level`: the standard library's numbers; `SYSTEM` (0) marks logferry's own records, which no user can reach.
* `event`: the event's name; `message`: text or nil; `fields`: map with string keys.

Limits: one event is at most `MAX_EVENT_BYTES` packed; values at most `MAX_DEPTH` deep with `MAX_ITEMS` items in all.
What is larger, cyclic or broken becomes a short description, and the field `CLIPPED` names the top-level fields
that this happened to (the running log shows it as `extra.clipped`).

`pack_event` is the slow path: it never raises, whatever a value's own code does. The fast path in `logger.py` hands
values to msgpack directly and comes here when that refuses them.
"""

from __future__ import annotations

import datetime
import enum
import os
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgpack

from logferry.interruption import let_through

SYSTEM = 0
DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
LEVEL_NAMES = {DEBUG: "DEBUG", INFO: "INFO", WARNING: "WARNING", ERROR: "ERROR", CRITICAL: "CRITICAL"}
LEVELS = tuple(LEVEL_NAMES)

# Names that a line of the running log uses itself; fields of these names are shown under `extra`.
RESERVED_FIELDS = frozenset({"time", "level", "event", "message", "seq", "extra"})
SYSTEM_PREFIX = "logferry."
CLIPPED = "logferry.clipped"

# Records of level SYSTEM that a producer writes into its own spool.
RESULT, GAP, END = "logferry.result", "logferry.gap", "logferry.end"

MAX_EVENT_BYTES = 1 << 20
# Of the events in one frame, and of those that are read of a spool at a time.
MAX_COUNT = 65_536
MAX_DEPTH = 100
MAX_ITEMS = 20_000
MAX_TEXT = 256 << 10
# What stands in for a value that could not be kept is a hint, not the value.
_DESCRIPTION = 200
_REPR = 2_000
# More fields than anybody reads; with their names they stay far below the limit.
_SHRUNK_FIELDS = 1_000
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


def level_number(level: int | str) -> int:
    """Return the number of a level given as number or name.

    Raises:
        ValueError: it is neither; the message lists the names.

    """
    if isinstance(level, str):
        name = level.strip().upper()
        for number, known in LEVEL_NAMES.items():
            if name in {known, str(number)} or (name, known) == ("WARN", "WARNING"):
                return number
    elif isinstance(level, int) and not isinstance(level, bool) and 0 < level <= CRITICAL:
        return level
    raise ValueError(f"level {level!r} is none of {', '.join(LEVEL_NAMES.values())}")


def level_name(level: int) -> str:
    """Return the name of the highest standard level that is not above `level`."""
    return LEVEL_NAMES.get(level) or LEVEL_NAMES[max([DEBUG, *(known for known in LEVELS if known <= level)])]


def pack_event(time_ns: int, level: int, event: Any, message: Any, fields: Mapping[str, Any]) -> bytes:
    """Pack one event whatever its values are, within `MAX_EVENT_BYTES`."""
    name = _Plain().text(event)[:1024] if isinstance(event, str) else describe(event)
    said = None if message is None else plain(message)[0]
    kept: dict[str, Any] = {}
    clipped: list[str] = []
    for key, value in fields.items():
        data, cut = plain(value)
        shown = plain_key(key)
        kept[shown] = data
        if cut:
            clipped.append(shown)
    if clipped:
        kept[CLIPPED] = clipped
    said = said if said is None or isinstance(said, str) else describe(message)
    packed: bytes = msgpack.packb([time_ns, level, name, said, kept])
    return packed if len(packed) <= MAX_EVENT_BYTES else _shrunk([time_ns, level, name, said, kept], clipped)


def _shrunk(event: list[Any], clipped: list[str]) -> bytes:
    """Replace the largest fields by descriptions until the event fits."""
    kept: dict[str, Any] = event[4]
    sizes = {key: len(msgpack.packb(value)) for key, value in kept.items()}
    excess = sum(sizes.values()) + sum(map(len, kept)) - MAX_EVENT_BYTES // 2
    for key in sorted(sizes, key=lambda key: -sizes[key])[:_SHRUNK_FIELDS]:
        kept[key] = f"<{type(kept[key]).__name__} of {sizes[key]} bytes>"
        clipped.append(key[:_DESCRIPTION])
        excess -= sizes[key]
        if excess <= 0:
            break
    kept[CLIPPED] = clipped[:_SHRUNK_FIELDS]
    packed: bytes = msgpack.packb(event)
    if len(packed) > MAX_EVENT_BYTES:  # very many fields, none of them large
        event[3:] = [None, {CLIPPED: [f"<{len(sizes)} fields of {len(packed)} bytes>"]}]
        packed = msgpack.packb(event)
    return packed


def plain(value: Any) -> tuple[Any, bool]:
    """Return `value` as plain data (None, bool, int, float, str, list, dict of str) and whether some of it was cut."""
    maker = _Plain()
    try:
        return maker.of(value, 0), maker.clipped
    except RecursionError:  # the interpreter's limit came before ours: the caller was deep down already
        return describe(value), True


def plain_key(key: Any) -> str:
    """Return a map's key as a short string."""
    return _Plain().text(key)[:1024] if isinstance(key, str) else str(plain(key)[0])[:1024]


def describe(value: Any) -> str:
    """Return a short description of a value, even of one whose own code is broken."""
    try:
        text = repr(value)
    except Exception as error:  # a value's own __repr__ may do anything; its type is what is left to say
        let_through(error)
        return f"<{type(value).__name__} without a working repr>"
    return _Plain().text(text if len(text) <= _DESCRIPTION else text[:_DESCRIPTION] + "…")


class _Plain:
    """One conversion: counts items, knows the containers it is inside of, remembers whether it cut something."""

    def __init__(self) -> None:
        self.clipped = False
        self._items = 0
        self._inside: set[int] = set()

    def of(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if _INT_MIN <= value <= _INT_MAX else self._long(value)
        if kind is str:
            return self.text(value)
        try:
            return self._other(value, depth)
        except Exception as error:  # the value's own code failed: properties, __iter__, __float__ …
            let_through(error)
            return self._cut(value)

    def text(self, value: str) -> str:
        if len(value) > MAX_TEXT:
            self.clipped = True
            value = f"{value[:MAX_TEXT]}… ({len(value)} characters)"
        if value.isascii():
            return str.__str__(value)
        # A lone surrogate is no Unicode text; its escape is what a reader can use.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")

    def _cut(self, value: Any) -> str:
        self.clipped = True
        return describe(value)

    def _long(self, value: int) -> str:
        try:
            return str(value)
        except ValueError:  # longer than sys.get_int_max_str_digits
            self.clipped = True
            return f"<int of {value.bit_length()} bits>"

    def _other(self, value: Any, depth: int) -> Any:
        """Convert what is not exactly one of msgpack's scalar types, cheap and common cases first."""
        if isinstance(value, dict | Mapping):
            return self._nested(value, depth, self._map)
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self._nested(value._asdict(), depth, self._map)
        if isinstance(value, list | tuple | deque):
            return self._nested(value, depth, self._list)
        if isinstance(value, enum.Enum):
            return self.of(value.value, depth) if isinstance(value.value, str | int | float) else value.name
        if isinstance(value, str | int | float):
            base = next(base for base in (bool, int, float, str) if isinstance(value, base))
            return self.of(base.__str__(value) if base is str else base(value), depth)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text(bytes(value[: MAX_TEXT + 1]).decode("utf-8", "backslashreplace"))
        # `dataclasses` is not imported: that costs a job more than all of this module.
        if hasattr(type(value), "__dataclass_fields__"):
            fields = {name: getattr(value, name) for name in type(value).__dataclass_fields__ if hasattr(value, name)}
            return self._nested(fields, depth, self._map, value)
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}"[:_REPR])
        if isinstance(value, AbstractSet):
            return self._nested(_in_order(value), depth, self._list, value)
        return self._scalar_like(value, depth)

    def _scalar_like(self, value: Any, depth: int) -> Any:
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, datetime.timedelta):
            return value.total_seconds()
        if isinstance(value, os.PathLike):
            return self.text(os.fsdecode(value))
        if isinstance(value, complex) or type(value).__name__ == "Decimal":
            return str(value)
        if isinstance(value, range):
            return self._nested(value, depth, self._list)
        if isinstance(value, type) or isinstance(getattr(value, "__qualname__", None), str):
            return self.text(f"{value.__module__}.{value.__qualname__}"[:_REPR])
        if hasattr(value, "tolist") and hasattr(value, "shape"):
            return self._array(value, depth)
        return self.text(repr(value)[:_REPR])

    def _array(self, value: Any, depth: int) -> Any:
        """Convert a numpy, torch, jax … array or scalar, known by its methods so that nothing is imported."""
        size = 1
        for length in value.shape:
            size *= int(length)
        if size > MAX_ITEMS - self._items:
            self.clipped = True
            return f"<{type(value).__name__} of shape {tuple(value.shape)}, {getattr(value, 'dtype', '')}>"
        data = value.tolist()
        if type(data) is type(value):  # an object array's element that gives itself back
            return self._cut(value)
        return self.of(data, depth)

    def _nested(self, value: Any, depth: int, convert: Any, identity: Any = None) -> Any:
        mark = id(value if identity is None else identity)
        if mark in self._inside or depth >= MAX_DEPTH:
            self.clipped = True
            return "<cycle>" if mark in self._inside else f"<{type(value).__name__} nested too deep>"
        self._inside.add(mark)
        try:
            return convert(value, depth + 1)
        finally:
            self._inside.discard(mark)

    def _map(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, item in value.items():
            if self._full(len(value) - len(out)):
                out["…"] = f"{len(value) - len(out)} more"
                break
            shown = plain_key(key)
            while shown in out:  # 1 and "1" are two keys; neither may swallow the other
                shown += "~"
            out[shown] = self.of(item, depth)
        return out

    def _list(self, value: Any, depth: int) -> list[Any]:
        out: list[Any] = []
        for item in value:
            if self._full(len(value) - len(out)):
                out.append(f"… {len(value) - len(out)} more")
                break
            out.append(self.of(item, depth))
        return out

    def _full(self, left: int) -> bool:
        self._items += 1
        if self._items <= MAX_ITEMS or not left:
            return False
        self.clipped = True
        return True


def _in_order(values: AbstractSet[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:  # of several types
        return list(values)
