"""Pickles: data comes back equal, a program that is not data does nothing at all."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry_collector.config import CollectorConfig
from logferry_collector.formats import Content
from logferry_collector.formats.content import BeyondError, Reading
from logferry_collector.formats.frames import _arrow, _block
from logferry_collector.formats.nodes import node_class
from logferry_collector.formats.pickle import Pickle
from logferry_collector.formats.pickled import Meaning
from support.collecting import SAMPLE, Place
from support.depth import depth

OPEN = Reading(pickle=True)
PROTOCOLS = range(6)


def read(data: bytes) -> list[Any]:
    found = Pickle().parse(Content(data, reading=OPEN))
    assert not found.rejects, found.rejects
    assert not found.unfinished, found.unfinished
    return [document for _, document in found.documents]


def refusal(data: bytes) -> str:
    found = Pickle().parse(Content(data, reading=OPEN))
    assert found.documents == []
    return found.unfinished or found.rejects[0].reason


def test_pickles_are_refused_until_they_are_allowed(place: Place) -> None:
    place.write("e/r.pkl", pickle.dumps(SAMPLE))
    place.collect()
    assert place.faults() == [("r.pkl", 0, "unavailable")]
    assert "pickle = true stands in [collector]" in place.store.rejects()[0][1].reason
    place.restart(CollectorConfig(pickle=True))
    place.collect()
    assert (place.documents(), place.faults()) == ([SAMPLE | {"run_id": "r"}], [])


PLAIN = {
    "config": collections.OrderedDict(lr=np.float32(0.5), layers=(1, 2), opts={"a"}, path=Path("/x/y")),
    "metrics": collections.defaultdict(float, acc=np.float64(0.25), n=np.int64(3), bad=float("nan"), ok=np.True_),
    "args": argparse.Namespace(seed=1, deep=argparse.Namespace(x=None)),
    "when": datetime.datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
    "day": datetime.date(2025, 1, 2),
    "span": datetime.timedelta(seconds=90),
    "price": decimal.Decimal("1.5"),
    "id": uuid.UUID(int=7),
    "curve": np.array([[1, 2], [3, 4]]),
    "fortran": np.asfortranarray(np.array([[1.5, 2], [3, 4]])),
    "names": np.array(["a", "ä"]),
    "many": np.array([1, "x", None], dtype=object),
    "raw": b"\xff",
    "stamp": pd.Timestamp("2025-01-01"),
    "gone": pd.NaT,
}
MEANT = {
    "config": {"lr": 0.5, "layers": [1, 2], "opts": ["a"], "path": "//x/y"},
    "metrics": {"acc": 0.25, "n": 3, "bad": None, "ok": True},
    "args": {"seed": 1, "deep": {"x": None}},
    "when": "2025-01-02T03:04:05.000006+00:00",
    "day": "2025-01-02",
    "span": 90.0,
    "price": 1.5,
    "id": "00000000000000000000000000000007",
    "curve": [[1, 2], [3, 4]],
    "fortran": [[1.5, 2], [3, 4]],
    "names": ["a", "ä"],
    "many": [1, "x", None],
    "raw": "\\xff",
    "stamp": "2025-01-01T00:00:00+00:00",
    "gone": None,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back_by_every_protocol(protocol: int) -> None:
    (found,) = read(pickle.dumps(PLAIN, protocol))
    assert np.isnan(found["metrics"]["bad"])
    found["metrics"]["bad"] = None
    assert found == MEANT


FRAME = pd.DataFrame(
    {
        "run_id": ["a", "b"],
        "config.lr": [0.1, 0.2],
        "metrics.acc": [0.5, np.nan],
        "n": [1, 2],
        "m": [3, 4],
        "ok": [True, False],
        "when": pd.to_datetime(["2025-01-01", None]),
        "utc": pd.to_datetime(["2025-01-01", None], utc=True),
        "kind": pd.Categorical(["x", None]),
        "maybe": pd.array([1, None], dtype="Int64"),
        "any": pd.Series([1, "x"], dtype=object),
        "arrow": pd.array([1.5, None], dtype="double[pyarrow]"),
        "text": pd.array(["t", None], dtype="string"),
    }
)
ROWS = [
    {"run_id": "a", "config": {"lr": 0.1}, "metrics": {"acc": 0.5}, "n": 1, "m": 3, "ok": True}
    | {"when": "2025-01-01T00:00:00Z", "utc": "2025-01-01T00:00:00Z", "kind": "x", "maybe": 1, "any": 1}
    | {"arrow": 1.5, "text": "t"},
    {"run_id": "b", "config": {"lr": 0.2}, "n": 2, "m": 4, "ok": False, "any": "x"},
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_frames_of_pandas_come_back_by_every_protocol(protocol: int) -> None:
    assert read(pickle.dumps(FRAME, protocol)) == ROWS


def test_indexes_series_and_levels_of_columns() -> None:
    numbers = pd.DataFrame({"x": [1, 2]}, index=pd.Index([10, 20], name="step"))
    assert read(pickle.dumps(numbers)) == [{"step": 10, "x": 1}, {"step": 20, "x": 2}]
    both = pd.DataFrame({("a", "b"): [1]}, index=pd.MultiIndex.from_tuples([("p", 1)], names=["k", None]))
    assert read(pickle.dumps(both)) == [{"k": "p", "level_1": 1, "a.b": 1}]
    assert read(pickle.dumps(pd.Series({"run_id": "a", "x": 1.5}))) == [{"run_id": "a", "x": 1.5}]
    assert read(pickle.dumps([{"x": 1}, {"x": 2}])) == [{"x": 1}, {"x": 2}]
    assert read(pickle.dumps(FRAME[["n"]].iloc[:0])) == []


def test_what_python_2_wrote_is_read() -> None:
    """An array of two floats, its bytes as text, as numpy under Python 2.7 wrote it."""
    data = (
        b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x10" + struct.pack("<2d", 1.5, -2) + b"tbs."
    )
    assert read(data) == [{"x": [1.5, -2.0]}]


def test_a_pickle_of_pandas_is_read_packed_too(place: Place) -> None:
    place.restart(CollectorConfig(pickle=True))
    FRAME.to_pickle(place.write("e/all.pkl.gz", ""))
    place.collect()
    assert place.ids() == ["a", "b"]


class Calls:
    """Makes a pickle that calls something."""

    def __init__(self, what: Any, *args: Any) -> None:
        self.what, self.args = what, args

    def __reduce__(self) -> Any:
        return self.what, self.args


def named(module: str, name: str, *args: Any, protocol: int = 4) -> bytes:
    """Return a program that calls a name, whether it can be imported or not."""
    body = b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"
    return b"\x80\x04" + body + pickle.dumps(args, 2)[2:-1] + b"R."


MARK = "/tmp/lf-pickle-ran"
CALLS = [
    ("os", "system", f"touch {MARK}"),
    ("posix", "system", f"touch {MARK}"),
    ("subprocess", "Popen", ["touch", MARK]),
    ("builtins", "eval", f"open('{MARK}', 'w')"),
    ("builtins", "exec", f"open('{MARK}', 'w')"),
    ("builtins", "open", MARK, "w"),
    ("__builtin__", "apply", MARK),
    ("builtins", "__import__", "os"),
    ("builtins", "getattr", "os", "system"),
    ("importlib", "import_module", "antigravity"),
    ("io", "open", MARK, "w"),
    ("_io", "FileIO", MARK, "w"),
    ("pathlib", "Path.touch", MARK),
    ("shutil", "rmtree", MARK),
    ("runpy", "run_path", MARK),
    ("pty", "spawn", f"touch {MARK}"),
    ("timeit", "timeit", f"open('{MARK}', 'w')"),
    ("pdb", "run", f"open('{MARK}', 'w')"),
    ("cProfile", "run", f"open('{MARK}', 'w')"),
    ("pickle", "loads", b"x"),
    ("numpy", "load", MARK),
    ("numpy", "save", MARK, 1),
    ("numpy", "f2py.crackfortran.myeval", f"open('{MARK}', 'w')"),
    ("numpy.testing._private.utils", "runstring", f"open('{MARK}', 'w')", {}),
    ("numpy", "fromfile", "/etc/passwd"),
    ("pandas", "read_pickle", MARK),
    ("pandas", "eval", f"@open('{MARK}', 'w')"),
    ("pandas.io.common", "get_handle", MARK, "w"),
    ("pandas.core.frame", "DataFrame.to_csv", MARK),
    ("pandas.core.computation.eval", "eval", f"open('{MARK}', 'w')"),
    ("pyarrow", "OSFile", MARK, "w"),
    ("pandas.compat.pickle_compat", "load", MARK),
    ("logferry.results", "create", MARK, {}),
    ("collections", "OrderedDict.fromkeys", "x"),
    ("datetime", "sys.modules", "x"),
    ("functools", "partial", print),
    ("operator", "attrgetter", "system"),
    ("torch._utils", "_rebuild_tensor_v2", 1),
    ("codecs", "decode", b"x", "zlib"),
    ("types", "FunctionType", 1),
    ("copyreg", "__reduce_ex__", 1),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]}.{call[1]}"[:40])
def test_whatever_a_pickle_wants_to_call_is_refused_and_not_called(call: tuple[Any, ...]) -> None:
    Path(MARK).unlink(missing_ok=True)
    modules = set(sys.modules)
    assert "data" in refusal(named(*call))
    Pickle().parse(Content(named(*call)[:-1] + b"0}.", reading=OPEN))  # what it calls is dropped
    assert not Path(MARK).exists()
    assert set(sys.modules) - modules == set()


def test_a_real_gadget_runs_with_pickle_and_not_here(root: Path) -> None:
    mark = root / "ran"
    data = pickle.dumps(Calls(os.system, f"touch {mark}"))
    assert "system, which is not data" in refusal(data)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()


HOSTILE = {
    "a memo of two milliards": b"\x80\x04Kr" + struct.pack("<I", 0x7FFFFFFF) + b".",
    "a memo by name": b"K\x01p2000000000\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"\x80\x02K\x01Q.",
    "a class that is changed": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93N}\x8c\x01xK\x01s\x86b.",
    "bytes of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "text of a terabyte": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "nothing": b"\x80\x04.",
    "garbage": b"\x00\x01\x02garbage",
    "a list in itself": b"\x80\x04]\x94h\x00a.",
    "deep": b"\x80\x04" + b"(" * 100_000 + b"l" * 100_000 + b".",
    "nested lists": b"\x80\x04" + b"]" * 5_000 + b"a" * 4_999 + b".",
    "a bomb of doubling": b"\x80\x04]\x94" + b"".join(b"](h%ch%ce\x94" % (n, n) for n in range(60)) + b".",
    "a long number": b"\x80\x04\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000 + b".",
    "too many steps": b"\x80\x04" + b"N0" * 60_000 + b"N.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_end_soon_with_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_collector.formats.pickle.MAX_OPCODES", 110_000)
    start = time.process_time()
    found = Pickle().parse(Content(HOSTILE[name], reading=OPEN))
    assert found.documents == [] or name == "nothing"
    assert found.unfinished or found.rejects
    assert time.process_time() - start < 20


def array_of(shape: tuple[int, ...], code: str, raw: bytes) -> bytes:
    """Return a pickle of an array that says a shape which its bytes do not have."""
    maker, args, state = np.zeros(1, dtype=code).__reduce__()

    class Liar:
        def __reduce__(self) -> Any:
            return maker, args, (state[0], shape, state[2], state[3], raw)

    return pickle.dumps({"x": Liar()})


@pytest.mark.parametrize(
    ("shape", "code", "raw"),
    [((1 << 40,), "f8", b""), ((1 << 40,), "S1", b"x"), ((1 << 20, 1 << 20), "i1", b"x"), ((-1,), "i1", b"x")],
)
def test_an_array_that_is_larger_than_its_bytes_is_refused(shape: tuple[int, ...], code: str, raw: bytes) -> None:
    assert refusal(array_of(shape, code, raw))


def test_no_length_takes_room_from_nothing_or_gives_it_back() -> None:
    backwards = node_class("builtins", "slice")(0, -(10**10), -1)
    with pytest.raises(BeyondError):
        _block(Meaning(), None, backwards)
    kind = node_class("pyarrow.lib", "type_for_alias")("bool")
    array = node_class("pyarrow.lib", "_restore_array")((kind, -(10**9), 0, 0, [None, b""], [], None))
    with pytest.raises(BeyondError):
        _arrow(Meaning(), array)


def test_reading_needs_and_touches_neither_pandas_nor_numpy(root: Path) -> None:
    FRAME.to_pickle(root / "f.pkl")
    script = (
        "import sys; from logferry_collector.formats import Content, Reading"
        "\nfrom logferry_collector.formats.pickle import Pickle"
        f"\nfound = Pickle().parse(Content(open({str(root / 'f.pkl')!r}, 'rb').read(), reading=Reading(pickle=True)))"
        "\nprint(len(found.documents), {'pandas', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"2 set()\n"


@depth(60)
@given(st.data())
def test_a_pickle_that_is_cut_or_flipped_never_raises(data: st.DataObject) -> None:
    whole = bytearray(SEEDS[data.draw(st.integers(0, len(SEEDS) - 1))])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    Pickle().parse(Content(bytes(whole[: data.draw(st.integers(1, len(whole)))]), reading=OPEN))


SEEDS = [pickletools.optimize(pickle.dumps(one, protocol)) for one in (PLAIN, FRAME) for protocol in (0, 2, 4, 5)]
