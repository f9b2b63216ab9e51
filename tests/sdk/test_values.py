"""Any Python value becomes plain data or a short description: a log call never raises, whatever it is given."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import math
import os
import pathlib
import types
import uuid
from typing import Any, NamedTuple

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.events import CLIPPED, MAX_DEPTH, MAX_EVENT_BYTES, MAX_ITEMS, MAX_TEXT, pack_event, plain
from support.mapped import Logged


class Colour(enum.Enum):
    RED = "red"
    MANY = (1, 2)


class Number(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Config:
    lr: float
    inner: Any = None


@dataclasses.dataclass(slots=True)
class Slotted:
    lr: float


class Tensor:
    """Has what torch's and jax's arrays have, and is neither."""

    def __init__(self, data: Any, shape: tuple[int, ...]) -> None:
        self._data, self.shape, self.dtype = data, shape, "float32"

    def tolist(self) -> Any:
        return self._data


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("not even this")


class BrokenMap(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise OSError("no items")


class Everything:
    def __getattr__(self, name: str) -> Any:
        return Everything()

    def __repr__(self) -> str:
        return "everything"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise ValueError("a string that cannot be one")


cyclic: list[Any] = [1]
cyclic.append(cyclic)
knot: dict[str, Any] = {}
knot["self"] = knot
utc = datetime.UTC

PLAIN: list[tuple[Any, Any]] = [
    (np.float32(0.5), 0.5),
    (np.float64(0.5), 0.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    (np.array("text"), "text"),
    (np.float64("nan"), math.nan),
    (np.datetime64("2025-07-30"), "2025-07-30"),
    (Tensor([1.5, 2.5], (2,)), [1.5, 2.5]),
    (Tensor(1.5, ()), 1.5),
    (Config(0.1, Config(0.2)), {"lr": 0.1, "inner": {"lr": 0.2, "inner": None}}),
    (Slotted(0.1), {"lr": 0.1}),
    (Colour.RED, "red"),
    (Colour.MANY, "MANY"),
    (Number.ONE, 1),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (datetime.datetime(2025, 7, 30, 13, tzinfo=utc), "2025-07-30T13:00:00+00:00"),
    (datetime.date(2025, 7, 30), "2025-07-30"),
    (datetime.timedelta(seconds=1.5), 1.5),
    (decimal.Decimal("1.10"), "1.10"),
    (1 + 2j, "(1+2j)"),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"a"}), ["a"]),
    (b"caf\xe9", "caf\\xe9"),
    (bytearray(b"ok"), "ok"),
    (memoryview(b"ok"), "ok"),
    (ValueError("bad"), "ValueError: bad"),
    (2**64 - 1, 2**64 - 1),
    (2**64, "18446744073709551616"),
    (-(2**63) - 1, "-9223372036854775809"),
    (range(3), [0, 1, 2]),
    (collections.deque([1, 2]), [1, 2]),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (int, "builtins.int"),
    (os.path.join, "posixpath.join"),
    (uuid.UUID(int=5), "UUID('00000000-0000-0000-0000-000000000005')"),
    (types.SimpleNamespace(a=1), "namespace(a=1)"),
    ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
    ({1: "a", "1": "b", None: "c", (1, 2): "d"}, {"1": "a", "1~": "b", "None": "c", "[1, 2]": "d"}),
    (math.inf, math.inf),
    ("{braces} %s {0}", "{braces} %s {0}"),
]


@pytest.mark.parametrize(("value", "expected"), PLAIN, ids=lambda value: type(value).__name__)
def test_values_of_every_kind_become_plain_data(value: Any, expected: Any) -> None:
    found, cut = plain(value)
    assert found == expected or (math.isnan(found) and math.isnan(expected))
    assert type(found) in {type(None), bool, int, float, str, list, dict}
    assert not cut


@pytest.mark.parametrize(
    "value",
    [
        cyclic,
        knot,
        Broken(),
        BrokenMap(a=1),
        Everything(),
        Text("x"),
        object(),
        lambda: 1,
        functools.partial(print),
        (number for number in range(3)),
        np.zeros((1000, 1000)),
        np.array([Broken()], dtype=object),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]),
        "x" * (2 * MAX_TEXT),
        b"x" * (3 << 20),
        list(range(3 * MAX_ITEMS)),
        {str(number): number for number in range(3 * MAX_ITEMS)},
        functools.reduce(lambda inner, _: [inner], range(5000), []),
        functools.reduce(lambda inner, _: {"k": inner}, range(300), {}),
        10**5000,
        msgpack.ExtType(5, b"raw"),
        msgpack.Timestamp(1, 2),
        {Broken(): Broken()},
        {"\ud800": "\udfff"},
        ExceptionGroup("group", [ValueError("one")]),
        NotImplemented,
        ...,
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_value_makes_a_log_call_raise_or_lose_its_neighbours(value: Any) -> None:
    logged = Logged()
    logged.run.info("Odd", before=1, value=value, after=2)
    fields = logged.fields()
    assert (fields["before"], fields["after"]) == (1, 2)
    assert "value" in fields


@pytest.mark.parametrize("value", [cyclic, Broken(), np.zeros((1000, 1000)), "x" * (2 * MAX_TEXT)])
def test_an_event_says_which_fields_were_clipped(value: Any) -> None:
    packed = pack_event(1, 20, "E", None, {"fine": 1, "cut": value})
    assert msgpack.unpackb(packed)[4][CLIPPED] == ["cut"]


def test_an_event_is_never_larger_than_the_limit_and_keeps_its_small_fields() -> None:
    logged = Logged()
    logged.run.info("Large", small=1, **{f"large{number}": "x" * 200_000 for number in range(9)})
    fields = logged.fields()
    assert fields["small"] == 1
    assert fields["large0"].startswith("<str of ")
    assert "large0" in fields[CLIPPED]


def test_very_many_fields_end_as_a_count_in_reasonable_time() -> None:
    logged = Logged()
    logged.run.info("Wide", **{f"field number {number}": "x" * 30 for number in range(40_000)})
    assert logged.fields()[CLIPPED][0].startswith("<4000")


def test_depth_is_cut_where_the_limit_says() -> None:
    deep = functools.reduce(lambda inner, _: [inner], range(MAX_DEPTH - 1), ["bottom"])
    assert plain(deep) == (deep, False)
    assert plain([deep])[1]


def test_a_message_or_name_of_another_kind_is_described() -> None:
    logged = Logged()
    logged.run.info("E", object())  # type: ignore[arg-type]
    (event,) = logged.events()
    assert event[3].startswith("<object object at")


def test_what_is_packed_is_not_larger_than_the_limit_after_conversion_either() -> None:
    fields = {f"f{number}": list(range(20_000)) for number in range(30)}
    assert len(pack_event(1, 20, "E", "m" * 300_000, fields)) <= MAX_EVENT_BYTES


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.tuples(inner),
    max_leaves=20,
)


@given(name=st.text(), message=st.none() | st.text(), fields=st.dictionaries(st.text(), values))
def test_any_event_round_trips_as_plain_data(name: str, message: str | None, fields: dict[str, Any]) -> None:
    time_ns, level, event, said, found = msgpack.unpackb(pack_event(7, 20, name, message, fields))
    assert (time_ns, level, len(found)) == (7, 20, len({plain(key)[0] for key in fields}))
    assert isinstance(event, str)
    assert said is None or isinstance(said, str)
