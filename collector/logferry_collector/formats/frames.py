"""What the records of pandas' frames mean: blocks of arrays, an index for the rows and one for the columns.

Their layout is pandas' own from 1.0 on: a frame has a block manager, made of blocks and axes, or in older protocols
with a state that has them under `0.14.1`. A value that is missing is None; NaN counts as missing, as in all that pandas
writes. Times are in UTC.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

from logferry_collector.formats.nodes import Node, RefusedError
from logferry_collector.formats.pickled import Array, Meaning, Table, made, raw_bytes

_ARROW = {"int64": "q", "int32": "i", "uint64": "Q", "double": "d", "float": "f"}
_RESOLUTIONS = {7: "s", 8: "ms", 9: "us", 10: "ns"}


def _part(state: Any, *names: str) -> Any:
    if isinstance(state, dict):
        for name in names:
            if name in state:
                return state[name]
    raise RefusedError(f"holds a frame without its {names[0]}")


def _frame(meaning: Meaning, node: Node, depth: int) -> Table:  # noqa: ARG001
    names, rows, columns = _managed(meaning, _part(node.state, "_mgr", "_data"))
    labels = [".".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
    placed: list[list[Any]] = [[None] * len(rows[1])] * len(labels)
    for position, values in columns:
        if not 0 <= position < len(labels) or len(values) != len(rows[1]):
            raise RefusedError("holds a frame whose parts do not fit each other")
        placed[position] = values
    if rows[0]:  # an index that says more than the number of the row
        placed = [*(list(level) for level in zip(*rows[1], strict=True)), *placed]
        labels = [*rows[0], *labels]
    return Table(labels, [[_there(value) for value in column] for column in placed])


def _series(meaning: Meaning, node: Node, depth: int) -> Any:  # noqa: ARG001
    _, rows, columns = _managed(meaning, _part(node.state, "_mgr", "_data"))
    labels = [".".join(map(str, key)) if rows[0] else str(key) for key in rows[1]]
    ((_, values),) = columns
    found = {label: _there(value) for label, value in zip(labels, values, strict=True)}
    return meaning.value({label: _plain(value) for label, value in found.items()})


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _there(value: Any) -> Any:
    return None if value != value else value  # noqa: PLR0124 - not a number


Rows = tuple[list[str], list[Any]]


def _managed(meaning: Meaning, manager: Any) -> tuple[list[Any], Rows, list[tuple[int, list[Any]]]]:
    """Return the names of the columns, the index of the rows, and each column with its place."""
    manager = made(manager)
    if not isinstance(manager, Node) or not manager.name.endswith("BlockManager"):
        raise RefusedError("holds a frame without its blocks")
    if manager.args:
        blocks, axes = manager.args[:2]
        parts = [(block.args[0], block.args[1]) for block in blocks if isinstance(block, Node)]
    else:
        state = _part(manager.state[3], "0.14.1")
        axes = _part(state, "axes")
        parts = [(_part(block, "values"), _part(block, "mgr_locs")) for block in _part(state, "blocks")]
    rows = _index(meaning, axes[-1])
    names = [key if rows_of == "plain" else tuple(key) for rows_of, key in _labels(meaning, axes[0])]
    if len(axes) == 1:
        return [], rows, [(0, _column(meaning, parts[0][0]))]
    columns = [one for values, place in parts for one in _block(meaning, values, place)]
    return names, rows, columns


def _labels(meaning: Meaning, axis: Any) -> list[tuple[str, Any]]:
    names, keys = _index(meaning, axis)
    single = len(names) <= 1
    return [("plain", key[0] if names else key) if single else ("levels", key) for key in keys]


def _block(meaning: Meaning, values: Any, place: Any) -> list[tuple[int, list[Any]]]:
    """Return a block's columns with their places."""
    if isinstance(place, Node) and place.name == "BlockPlacement":
        place = place.args[0]
    if isinstance(place, Node) and place.name == "slice":
        start, stop, step = place.args
        span = range(start, stop, step or 1)
        meaning.spend(len(span))
        places = list(span)
    else:
        places = meaning.array(place).values
    found = _values(meaning, values)
    if len(found.shape) == 2:
        width = found.shape[1]
        rows = [found.values[number * width : (number + 1) * width] for number in range(found.shape[0])]
    else:
        rows = [found.values]
    return list(zip(places, rows, strict=True))


def _column(meaning: Meaning, values: Any) -> list[Any]:
    return _values(meaning, values).values


def _values(meaning: Meaning, node: Any) -> Array:
    """Return what an array holds, numpy's or one of pandas' own."""
    meaning.spend(1)
    node = made(node)
    if not isinstance(node, Node):
        raise RefusedError("has something else where an array stands")
    if node.library == "numpy":
        return meaning.array(node)
    if node.name in {"_new_Index", "_new_DatetimeIndex"}:
        keys = _index(meaning, node)[1]
        return Array([key[0] for key in keys] if keys and isinstance(keys[0], tuple) else keys, (len(keys),))
    state = tuple(map(made, node.state)) if isinstance(node.state, tuple) else node.state
    if isinstance(state, tuple):  # NDArrayBacked: a dtype and an array, in this order or the other
        kind = next((one for one in state if isinstance(one, Node) and one.name.endswith("Dtype")), None)
        inner = next(
            (one for one in state if isinstance(one, Node) and one.name in {"_reconstruct", "_frombuffer"}), None
        )
        found = meaning.array(inner)
        return _categories(meaning, kind, found) if kind is not None and kind.name == "CategoricalDtype" else found
    if isinstance(state, dict) and "_codes" in state:
        return _categories(meaning, _part(state, "_dtype"), meaning.array(state["_codes"]))
    if isinstance(state, dict) and "_mask" in state:
        found, mask = meaning.array(_part(state, "_data")), meaning.array(state["_mask"])
        cells = [None if gone else cell for cell, gone in zip(found.values, mask.values, strict=True)]
        return Array(cells, found.shape)
    if isinstance(state, dict) and ("_pa_array" in state or "_data" in state):
        return _arrow(meaning, _part(state, "_pa_array", "_data"))
    return meaning.array(_part(state, "_ndarray"))


def _categories(meaning: Meaning, kind: Any, codes: Array) -> Array:
    categories = _values(meaning, _part(made(kind).state, "categories")).values
    return Array([None if code < 0 else categories[code] for code in codes.values], codes.shape)


def _arrow(meaning: Meaning, node: Any) -> Array:
    """Return the values of an array that pyarrow keeps, by its buffers."""
    meaning.spend(1)
    if isinstance(node, Node) and node.name == "chunked_array":
        all_cells = [cell for chunk in node.args[0] for cell in _arrow(meaning, chunk).values]
        return Array(all_cells, (len(all_cells),))
    if not isinstance(node, Node) or node.library != "pyarrow":
        raise RefusedError("has something else where an array stands")
    if node.name != "_restore_array":
        return meaning.array(_part(node.state, "_ndarray"))
    kind, length, _, offset, buffers, *_ = node.args[0]
    name = kind.args[0] if isinstance(kind, Node) and kind.args else "?"
    meaning.spend(length)
    present, *rest = [_buffer(one) for one in buffers]
    places = range(offset, offset + length)
    there = [present is None or bool(present[place >> 3] >> (place & 7) & 1) for place in places]
    cells: list[Any]
    if name in {"large_string", "string", "large_utf8", "utf8"} and len(rest) == 2:
        letter, size = ("q", 8) if name.startswith("large") else ("i", 4)
        ends = struct.unpack_from(f"<{length + 1}{letter}", rest[0], offset * size)
        cells = [rest[1][start:end].decode("utf-8", "replace") for start, end in pairwise(ends)]
    elif name == "bool" and len(rest) == 1:
        cells = [bool(rest[0][place >> 3] >> (place & 7) & 1) for place in places]
    elif name in _ARROW and len(rest) == 1:
        letter = _ARROW[name]
        cells = list(struct.unpack_from(f"<{length}{letter}", rest[0], offset * struct.calcsize(letter)))
    else:
        raise RefusedError(f"has an array of arrow's type {name[:40]!a}")
    found = [cell if is_there else None for cell, is_there in zip(cells, there, strict=True)]
    return Array(found, (length,))


def _buffer(node: Any) -> Any:
    inner = node.args[0] if isinstance(node, Node) and node.name == "py_buffer" and node.args else node
    inner = raw_bytes(inner)
    if inner is not None and not isinstance(inner, bytes | bytearray):
        raise RefusedError("has an array whose bytes are missing")
    return inner


def _index(meaning: Meaning, node: Any) -> Rows:
    """Return the names of an index's levels and its keys as tuples; no names and bare keys for one without a name."""
    if not isinstance(node, Node) or node.name not in {"_new_Index", "_new_DatetimeIndex"}:
        raise RefusedError("holds a frame without its index")
    state = node.args[1]
    kind = getattr(node.args[0], "name", "")
    if kind == "MultiIndex":
        levels = [_index(meaning, level)[1] for level in _part(state, "levels")]
        levels = [[key[0] if isinstance(key, tuple) else key for key in level] for level in levels]
        codes = [meaning.array(code).values for code in _part(state, "codes", "labels")]
        names = [str(name) if name is not None else f"level_{number}" for number, name in enumerate(state["names"])]
        picked = [[None if code < 0 else level[code] for code in row] for level, row in zip(levels, codes, strict=True)]
        return names, list(zip(*picked, strict=True))
    name = state.get("name") if isinstance(state, dict) else None
    if kind == "RangeIndex":
        span = range(_part(state, "start"), _part(state, "stop"), _part(state, "step"))
        meaning.spend(len(span))
        keys: list[Any] = list(span)
        return ([str(name)], [(key,) for key in keys]) if name is not None else ([], keys)
    keys = _column(meaning, _part(state, "data"))
    return [str(name) if name is not None else "index"], [(key,) for key in keys]


def _timestamp(meaning: Meaning, node: Node, depth: int) -> Any:  # noqa: ARG001
    count, *_ = node.args
    unit = _RESOLUTIONS.get(node.args[3], "ns") if len(node.args) > 3 else "ns"
    return _plain(meaning.dates([count], unit)[0])


def _span(meaning: Meaning, node: Node, depth: int) -> Any:  # noqa: ARG001
    count = node.args[0]
    unit = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[_RESOLUTIONS.get(node.args[1], "ns") if node.args[1:] else "ns"]
    meaning.spend(1)
    return count * unit


def _extension(meaning: Meaning, node: Node, depth: int) -> Any:
    return meaning.value([_plain(_there(value)) for value in _values(meaning, node).values], depth)


def _keys(meaning: Meaning, node: Node, depth: int) -> Any:
    names, keys = _index(meaning, node)
    return meaning.value([_plain(key[0]) if len(names) == 1 else _plain(key) for key in keys], depth)


FRAMES: dict[str, Any] = {
    "DataFrame": _frame,
    "Series": _series,
    "_unpickle_timestamp": _timestamp,
    "_timedelta_unpickle": _span,
    "__pyx_unpickle_NDArrayBacked": _extension,
    **dict.fromkeys(("ArrowStringArray", "IntegerArray", "FloatingArray", "BooleanArray", "StringArray"), _extension),
    **dict.fromkeys(("_new_Index", "_new_DatetimeIndex"), _keys),
    **dict.fromkeys(("_nat_unpickle", "NA", "_nat"), lambda meaning, node, depth: None),  # noqa: ARG005
}
