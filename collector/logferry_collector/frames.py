"""Rows as frames of pandas and polars, and as Parquet: packages that are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from logferry_collector.columns import columns_of
from logferry_collector.export import plain

# Beyond, not every integer is a float.
_EXACT = 1 << 53


class MissingPackageError(ImportError):
    """A package is needed that is not installed; the message says how to install it."""


def pandas_frame(rows: Sequence[dict[str, Any]]) -> Any:
    return needed("pandas", "to_pandas").DataFrame(list(rows), columns=columns_of(rows))


def polars_frame(rows: Sequence[dict[str, Any]]) -> Any:
    return needed("polars", "to_polars").from_arrow(arrow_table(rows, columns_of(rows), "to_polars"))


def write_parquet(rows: Sequence[dict[str, Any]], columns: Sequence[str], where: str | Path | BinaryIO) -> None:
    table = arrow_table(rows, columns, "parquet")
    parquet = needed("pyarrow.parquet", "parquet")
    parquet.write_table(table, str(where) if isinstance(where, Path) else where)


def arrow_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], what: str) -> Any:
    """Return a table whose columns have one type each: what has none in common is text, lists and maps are JSON."""
    pyarrow = needed("pyarrow", what)
    return pyarrow.table({name: _column(pyarrow, [row.get(name) for row in rows]) for name in columns})


def _column(pyarrow: Any, values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float} and all(type(value) is not int or abs(value) <= _EXACT for value in values):
        return pyarrow.array([None if value is None else float(value) for value in values])
    if len(kinds) <= 1 and not kinds & {dict, list}:
        try:
            return pyarrow.array([plain(value) if kinds == {str} else value for value in values])
        except (OverflowError, pyarrow.ArrowInvalid):  # integers beyond 64 bits
            pass
    return pyarrow.array([None if value is None else str(plain(value)) for value in values])


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
