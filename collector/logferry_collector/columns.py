"""Which columns a table of results has when nobody says: what differs between the rows, the most telling first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from logferry_collector.names import Names
from logferry_collector.where import Key

ID = "run_id"
# Fields that people compare; the others say where a result comes from, and `show` has them.
_TELLING = ("experiment_id", ID, "status", "model", "dataset", "group", "tags")
_NOTHING = object()


def columns_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the keys of all rows: fields first, then configuration, then metrics, each in order of appearance."""
    seen = dict.fromkeys(key for row in rows for key in row)
    return sorted(seen, key=lambda key: (key.startswith("metrics."), key.startswith("config.")))


def named(names: Names, patterns: Sequence[str]) -> list[Key]:
    """Return the keys that names and patterns mean, each once.

    Raises:
        WhereError: one means none.

    """
    return list(dict.fromkeys(key for pattern in patterns for key in names.matching(pattern)))


def interesting(rows: Iterable[dict[str, Any]], asked: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the columns to show, and what is left out because it is the same in all rows.

    Ids come first, then what was asked for, then metrics before configuration, because the last do not fit everywhere.
    """
    alike = _Alike()
    there = columns_of(map(alike.seen, rows))
    fields = [name for name in _TELLING if name in there]
    metrics = [name for name in there if name.startswith("metrics.")]
    settings = [name for name in there if name.startswith("config.")]
    ids = [name for name in fields if name in {"experiment_id", ID, "status"}]
    order = dict.fromkeys([*ids, *asked, *fields, *metrics, *settings])
    same = {name: value for name in order if name not in {ID, *asked} and (value := alike.of(name)) is not _NOTHING}
    shown = [name for name in order if name not in same]
    return shown, {name: value for name, value in same.items() if value not in (None, [], {}, "")}


class _Alike:
    """Which values are the same in all rows, of at least two."""

    def __init__(self) -> None:
        self._first: dict[str, Any] | None = None
        self._differ: set[str] = set()
        self._are_many = False

    def seen(self, row: dict[str, Any]) -> dict[str, Any]:
        """Look at a row, and return it."""
        if self._first is None:
            self._first = row
            return row
        self._are_many = True
        first, differ = self._first, self._differ
        for name, value in row.items():
            if name not in differ and not (name in first and _same(value, first[name])):
                differ.add(name)
        if not first.keys() <= row.keys():
            differ |= first.keys() - row.keys()
        return row

    def of(self, name: str) -> Any:
        """Return the value that all rows have, which may be None for no value; else `_NOTHING`."""
        return _NOTHING if not self._are_many or name in self._differ else (self._first or {}).get(name)


def _same(one: Any, other: Any) -> bool:
    """Say whether two values are the same to whoever reads them: true is not 1, NaN is NaN."""
    return (one == other and isinstance(one, bool) == isinstance(other, bool)) or (one != one and other != other)  # noqa: PLR0124
