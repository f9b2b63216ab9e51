"""Rows as frames of pandas and polars, and as Parquet: packages that are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from logferry_collector.columns import columns_of
from logferry_collector.export import plain
from logferry_collector.kept import kept

# Beyond, not every integer is a float.
_EXACT = 1 << 53
# Of the rows that are in memory together, and a group of the file.
_GROUP_VALUES = 200_000


class MissingPackageError(ImportError):
    """A package is needed that is not installed; the message says how to install it."""


def pandas_frame(rows: Sequence[dict[str, Any]]) -> Any:
    return needed("pandas", "to_pandas").DataFrame(list(rows), columns=columns_of(rows))


def polars_frame(rows: Sequence[dict[str, Any]]) -> Any:
    return needed("polars", "to_polars").from_arrow(_table(rows, Kinds(rows).schema("to_polars")))


def write_parquet(rows: Iterable[dict[str, Any]], columns: Sequence[str] | None, where: str | Path | BinaryIO) -> None:
    """Write some columns of rows, by default all; memory need not have room for the rows."""
    parquet = needed("pyarrow.parquet", "parquet")
    with kept(rows, Kinds) as (kinds, again):
        schema = kinds.schema("parquet", columns)
        with parquet.ParquetWriter(str(where) if isinstance(where, Path) else where, schema) as writer:
            for some in _some(again):
                writer.write_table(_table(some, schema))


class Kinds:
    """What the columns of some rows hold.

    A column has one type: what has none in common is text, lists and maps are JSON.
    """

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._of: dict[str, set[type]] = {}
        self._range: dict[str, tuple[int, int]] = {}  # of integers
        self._columns = columns_of(map(self._seen, rows))

    def _seen(self, row: dict[str, Any]) -> dict[str, Any]:
        for name, value in row.items():
            kind = type(value)
            self._of.setdefault(name, set()).add(kind)
            if kind is int:
                least, most = self._range.get(name, (value, value))
                self._range[name] = (min(least, value), max(most, value))
        return row

    def schema(self, what: str, columns: Sequence[str] | None = None) -> Any:
        """Return the schema of these columns, by default of all; `what` needs it."""
        pyarrow = needed("pyarrow", what)
        return pyarrow.schema([(name, self._type(pyarrow, name)) for name in columns or self._columns])

    def _type(self, pyarrow: Any, name: str) -> Any:
        kinds = self._of.get(name, set()) - {type(None)}
        least, most = self._range.get(name, (0, 0))
        if kinds == {int, float} and least >= -_EXACT and most <= _EXACT:
            return pyarrow.float64()
        if kinds == {int} and least >= -(1 << 63) and most < 1 << 63:
            return pyarrow.int64()
        if kinds == {int} and least >= 0 and most < 1 << 64:
            return pyarrow.uint64()
        only = next(iter(kinds)) if len(kinds) == 1 else str
        types: dict[type, Any] = {bool: pyarrow.bool_(), float: pyarrow.float64()}
        return types.get(only, pyarrow.string()) if kinds else pyarrow.null()


def _table(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    pyarrow = needed("pyarrow", "a table")
    arrays = [pyarrow.array(list(map(_cast(pyarrow, field), rows)), field.type) for field in schema]
    return pyarrow.table(arrays, schema=schema)


def _cast(pyarrow: Any, field: Any) -> Callable[[dict[str, Any]], Any]:
    """Return what takes a column's value from a row."""
    name = field.name
    if field.type == pyarrow.string():
        return lambda row: None if (value := row.get(name)) is None else str(plain(value))
    if field.type == pyarrow.float64():
        return lambda row: None if (value := row.get(name)) is None else float(value)
    return lambda row: row.get(name)


def _some(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows, so many at a time as have `_GROUP_VALUES` values."""
    some: list[dict[str, Any]] = []
    values = 0
    for row in rows:
        some.append(row)
        values += len(row)
        if values >= _GROUP_VALUES:
            yield some
            some, values = [], 0
    if some:
        yield some


def needed(package: str, what: str) -> Any:
    """Import a package.

    Raises:
        MissingPackageError: it is not there.

    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        name = package.partition(".")[0]
        raise MissingPackageError(f"{what} needs {name}; install it with: pip install {name}") from error
