"""Records that stand for what a pickle would import: nothing is looked up, called or changed.

A name is one of data, or refused. The names of numpy, pandas and pyarrow are all let through, because a record does
nothing; whether it means something is decided by pickled.py and frames.py, which know few of them.
"""

from __future__ import annotations

from typing import Any, Self

_NAMES: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        "set frozenset list tuple dict bytearray slice complex object range int float str bool".split()
    ),
    "collections": frozenset("OrderedDict defaultdict Counter deque".split()),
    "datetime": frozenset("datetime date time timedelta timezone".split()),
    "decimal": frozenset({"Decimal"}),
    "uuid": frozenset({"UUID", "SafeUUID"}),
    "pathlib": frozenset("PosixPath PurePosixPath WindowsPath PureWindowsPath Path PurePath".split()),
    "argparse": frozenset({"Namespace"}),
    "types": frozenset({"SimpleNamespace"}),
    "copyreg": frozenset({"_reconstructor"}),
    "_codecs": frozenset({"encode"}),
}
_OLD = {"__builtin__": "builtins", "copy_reg": "copyreg", "pathlib._local": "pathlib"}
_LIBRARIES = frozenset({"numpy", "pandas", "pyarrow"})


class RefusedError(ValueError):
    """A pickle names something that is not data."""


class _Sealed(type):
    """A class on which nothing can be set: a pickle may try."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise RefusedError(f"sets {name[:80]!a} on a class, which is not data")


class Node(metaclass=_Sealed):
    """What a pickle would have made: by which name, from which arguments, with which state and contents."""

    __slots__ = ("args", "items", "pairs", "state")
    library = ""  # the first part of the module's name
    name = ""
    args: tuple[Any, ...]
    items: list[Any]
    pairs: dict[Any, Any]
    state: Any

    def __new__(cls, *args: Any, **pairs: Any) -> Self:
        node = object.__new__(cls)
        node.args, node.items, node.pairs, node.state = args, [], dict(pairs), None
        return node

    def __init__(self, *args: Any, **pairs: Any) -> None:
        pass

    def __call__(self, *_: Any) -> Node:
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs[key] = value

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def add(self, item: Any) -> None:
        self.items.append(item)


def node_class(module: str, name: str) -> type[Node]:
    """Return the record for a global.

    Raises:
        RefusedError: it is not data.

    """
    home = _OLD.get(module, module)
    library = home.partition(".")[0]
    # pandas keeps a zone by such a look-up; the record of one does nothing, as all do.
    zone = (home, name) in {("builtins", "getattr"), ("zoneinfo", "ZoneInfo")}
    if not zone and library not in _LIBRARIES and name not in _NAMES.get(home, frozenset()):
        raise RefusedError(f"holds {module}.{name}"[:160] + ", which is not data")
    made: Any = _Sealed(name.rpartition(".")[2] or "_", (Node,), {"__slots__": (), "library": library, "name": name})
    return made  # type: ignore[no-any-return]
