"""What the records of a pickle mean: Python's own types, and numpy's arrays and scalars."""

from __future__ import annotations

import datetime
import math
import struct
from dataclasses import dataclass
from typing import Any

from logferry_collector.formats.content import MAX_CELLS, BeyondError
from logferry_collector.formats.nodes import Node, RefusedError
from logferry_collector.formats.values import plain

MAX_DEPTH = 50
_CODES = dict(zip("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split(), "?bhiqBHIQefd", strict=True))
_UNIX = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_UNITS_NS = {"D": 86_400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_NOT_A_TIME = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Table:
    """A frame: the names of its columns, and their values."""

    names: list[str]
    columns: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Array:
    """An array's values in the order of C, and its shape."""

    values: list[Any]
    shape: tuple[int, ...]

    def nested(self) -> Any:
        return _nested(self.values, self.shape)


class Meaning:
    """Works out values, each time one occurs, up to a bound."""

    def __init__(self) -> None:
        self._left = MAX_CELLS

    def spend(self, count: int) -> None:
        """Count values.

        Raises:
            BeyondError: they are too many.

        """
        self._left -= count
        if count < 0 or self._left < 0:
            raise BeyondError(f"more than {MAX_CELLS} values, each counted as often as it occurs")

    def value(self, found: Any, depth: int = MAX_DEPTH) -> Any:
        """Return plain data, or a `Table`.

        Raises:
            RefusedError: it is not data.
            BeyondError: it is too much, or nested too deep.

        """
        self.spend(1)
        if depth == 0:
            raise BeyondError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(found, dict):
            return {self._key(key, depth): self.value(item, depth - 1) for key, item in found.items()}
        if isinstance(found, list | tuple | set | frozenset):
            return [self.value(item, depth - 1) for item in found]
        if isinstance(found, bytes | bytearray):
            return bytes(found).decode("utf-8", "backslashreplace")
        if isinstance(found, Node):
            return self._node(found, depth)
        if found is None or isinstance(found, bool | int | float | str):
            return plain(found)
        raise RefusedError(f"holds a {getattr(found, '__name__', type(found).__name__)}, which is not data")

    def _key(self, key: Any, depth: int) -> str:
        found = self.value(key, depth - 1)
        return found if isinstance(found, str) else str(found)

    def _node(self, node: Node, depth: int) -> Any:
        from logferry_collector.formats.frames import FRAMES  # noqa: PLC0415 - they build upon this

        known = FRAMES if node.library == "pandas" else _NUMPY if node.library == "numpy" else _PYTHON
        handler = known.get(node.name)
        if handler is None:
            what = f"{node.library}.{node.name}"[:120]
            raise RefusedError(f"holds a {what}, which is no data that is known here; write a frame of it, or lists")
        return handler(self, node, depth - 1)

    def dates(self, values: list[int], unit: str) -> list[Any]:
        """Return times for their counts since 1970."""
        scale_ns = _UNITS_NS.get(unit)
        if scale_ns is None:
            raise RefusedError(f"holds times in units of {unit[:20]!a}")
        return [
            None if count == _NOT_A_TIME else _UNIX + datetime.timedelta(microseconds=count * scale_ns // 1000)
            for count in values
        ]

    def array(self, node: Any) -> Array:
        """Return the array that a record stands for.

        Raises:
            RefusedError: it stands for none, or for one of a type that is no data.

        """
        if not isinstance(node, Node) or node.name not in {"_reconstruct", "_frombuffer"}:
            raise RefusedError("has something else where an array stands")
        if node.name == "_frombuffer":
            raw, dtype, shape, order = node.args
            fortran = order == "F"
        else:
            _, shape, dtype, fortran, raw = node.state
        shape = tuple(shape)
        if not all(isinstance(size, int) and size >= 0 for size in shape) or len(shape) > 8:
            raise RefusedError("has an array of no shape")
        count = math.prod(shape)
        self.spend(count)
        values = self.items(dtype, raw_bytes(raw), count)
        return Array(_in_c_order(values, shape) if fortran and len(shape) > 1 else values, shape)

    def items(self, dtype: Any, raw: Any, count: int) -> list[Any]:
        """Return an array's values from its bytes; those of objects stand in a list."""
        if not isinstance(dtype, Node) or dtype.name != "dtype" or not dtype.args:
            raise RefusedError("has an array of no type")
        code = str(_text(dtype.args[0]))
        state = dtype.state or (3, "<")
        kind, size = code[0], int(code[1:] or 0) if code[1:].isdigit() else 0
        if kind == "O":
            if not isinstance(raw, list) or len(raw) != count:
                raise RefusedError("has an array whose values are missing")
            return [self.value(item) for item in raw]
        width = size * 4 if kind == "U" else 8 if kind in "Mm" else size
        if not isinstance(raw, bytes) or width == 0 or len(raw) != count * width:
            raise RefusedError("has an array whose bytes do not fit its shape")
        order = ">" if _text(state[1]) == ">" else "<"
        if kind in "US":
            coding = ("utf-32-be" if order == ">" else "utf-32-le") if kind == "U" else "latin-1"
            cells = (raw[start : start + width] for start in range(0, len(raw), width))
            return [cell.decode(coding, "replace").rstrip("\0") for cell in cells]
        letter = "q" if kind in "Mm" else _CODES.get(code)
        if letter is None:
            raise RefusedError(f"has an array of type {code[:20]!a}")
        values = list(struct.unpack(f"{order}{count}{letter}", raw))
        if kind == "M":
            return self.dates(values, _unit(state))
        if kind == "m":
            seconds = _UNITS_NS.get(_unit(state), 1) / 1e9
            return [None if count == _NOT_A_TIME else count * seconds for count in values]
        return values


def _unit(state: Any) -> str:
    try:
        return str(_text(raw_bytes(state[-1][1][0])))
    except (IndexError, TypeError, KeyError):
        return "?"


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def raw_bytes(raw: Any) -> Any:
    """Return an array's bytes, in whatever way a protocol keeps them."""
    if isinstance(raw, Node) and raw.name == "bytearray":
        raw = raw.args[0] if raw.args else b""
    if isinstance(raw, Node) and raw.name == "encode":
        return _encoded(raw)
    if isinstance(raw, str):
        return raw.encode("latin-1")
    return bytes(raw) if isinstance(raw, bytearray | memoryview) else raw


def _encoded(node: Node) -> bytes:
    text, *coding = node.args
    if not isinstance(text, str) or coding not in (["latin1"], ["latin-1"], ["utf-8"], ["ascii"]):
        raise RefusedError("has bytes in an encoding that no pickle uses")
    return text.encode(coding[0])


def _in_c_order(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) != 2:
        raise RefusedError("has an array of more than two dimensions in the order of Fortran")
    rows, columns = shape
    return [values[row + column * rows] for row in range(rows) for column in range(columns)]


def _nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return values[0]
    if len(shape) == 1:
        return values
    step = math.prod(shape[1:])
    return [_nested(values[start : start + step], shape[1:]) for start in range(0, len(values), max(step, 1))]


def _time(meaning: Meaning, node: Node, depth: int) -> Any:  # noqa: ARG001 - all of a table have these arguments
    args = [
        raw_bytes(arg) if isinstance(arg, str | Node) and number == 0 else arg for number, arg in enumerate(node.args)
    ]
    zone = next((arg for arg in args[1:] if isinstance(arg, Node)), None)
    moment: Any = getattr(datetime, node.name)(*(arg for arg in args if not isinstance(arg, Node)))
    if zone is None or node.name != "datetime":
        return moment.total_seconds() if node.name == "timedelta" else moment.isoformat()
    if zone.name != "timezone":
        raise RefusedError(f"holds a time in a zone of {zone.name}")
    offset = zone.args[0] if zone.args else None
    span = datetime.timedelta(*offset.args) if isinstance(offset, Node) else datetime.timedelta(0)
    return moment.replace(tzinfo=datetime.timezone(span)).isoformat()


def _mapping(meaning: Meaning, node: Node, depth: int) -> Any:
    inner = next((arg for arg in node.args if isinstance(arg, dict | list)), {})
    pairs = dict(inner) if isinstance(inner, dict) else {pair[0]: pair[1] for pair in inner}
    return meaning.value(pairs | node.pairs, depth)


def _sequence(meaning: Meaning, node: Node, depth: int) -> Any:
    inner = next((arg for arg in node.args if isinstance(arg, list | tuple | set | frozenset)), [])
    return meaning.value([*inner, *node.items], depth)


def _attributes(meaning: Meaning, node: Node, depth: int) -> Any:
    return meaning.value(node.state if isinstance(node.state, dict) else {}, depth)


def made(found: Any) -> Any:
    """Return the object that older protocols make in two steps; everything else as it is."""
    if not isinstance(found, Node) or found.name != "_reconstructor":
        return found
    kind = found.args[0]
    if not (isinstance(kind, type) and issubclass(kind, Node)):
        raise RefusedError("makes an object of nothing")
    node = kind(*found.args[2:])
    node.state = found.state
    node.pairs.update(found.pairs)
    return node


def _scalar(meaning: Meaning, node: Node, depth: int) -> Any:
    dtype, raw = node.args
    return meaning.value(_dated(meaning.items(dtype, raw_bytes(raw), 1)[0]), depth)


def _dated(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _array(meaning: Meaning, node: Node, depth: int) -> Any:
    found = meaning.array(node)
    return meaning.value(Array([_dated(value) for value in found.values], found.shape).nested(), depth)


_PYTHON: dict[str, Any] = {
    **dict.fromkeys(("OrderedDict", "defaultdict", "Counter", "dict"), _mapping),
    **dict.fromkeys(("set", "frozenset", "list", "tuple", "deque"), _sequence),
    **dict.fromkeys(("datetime", "date", "time", "timedelta"), _time),
    **dict.fromkeys(("Namespace", "SimpleNamespace"), _attributes),
    **dict.fromkeys(
        ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath"),
        lambda meaning, node, depth: "/".join(str(meaning.value(part, depth)) for part in node.args),
    ),
    "Decimal": lambda meaning, node, depth: float(meaning.value(node.args[0], depth)),
    "UUID": lambda meaning, node, depth: f"{int(_attributes(meaning, node, depth)['int']):032x}",
    "SafeUUID": lambda meaning, node, depth: None,  # noqa: ARG005 - how sure an id is says nothing
    "encode": lambda meaning, node, depth: meaning.value(_encoded(node), depth),
    "bytearray": lambda meaning, node, depth: meaning.value(raw_bytes(node), depth),
    "_reconstructor": lambda meaning, node, depth: meaning.value(made(node), depth),
}
_NUMPY: dict[str, Any] = {"_reconstruct": _array, "_frombuffer": _array, "scalar": _scalar}
