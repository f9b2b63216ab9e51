"""Result documents as flat rows, and as files and frames that other programs read.

A flat row has a key per value: `config` and `metrics` by their dotted names, every other field by its own, or on
request dotted too. NaN and infinite metrics are numbers there, not the strings that JSON needs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from logferry.results import number


class MissingPackageError(ImportError):
    """A package is needed that no extra of logferry brings; the message says how to install it."""


def flat(document: dict[str, Any], *, deep: bool = False) -> dict[str, Any]:
    """Return a document as one flat row; `deep` takes apart every map in it."""
    row: dict[str, Any] = {}
    for name, value in document.items():
        if (deep or name in {"config", "metrics"}) and isinstance(value, dict):
            _flatten(name, value, row, as_numbers=name == "metrics")
        else:
            row[name] = value
    return row


def _flatten(prefix: str, mapping: dict[str, Any], into: dict[str, Any], *, as_numbers: bool) -> None:
    for name, value in mapping.items():
        key = f"{prefix}.{name}"
        if isinstance(value, dict) and value:
            _flatten(key, value, into, as_numbers=as_numbers)
            continue
        while key in into:  # {"a.b": 1, "a": {"b": 2}} has two values; neither may swallow the other
            key += "~"
        into[key] = number(value) if as_numbers else value


def differences(documents: Mapping[str, dict[str, Any]], *, same: bool = False) -> dict[str, dict[str, Any]]:
    """Return the dotted keys in which documents differ, or with `same` all, each with the value of all that have it."""
    rows = {label: flat(document, deep=True) for label, document in documents.items()}
    found = {
        key: {label: row[key] for label, row in rows.items() if key in row}
        for key in dict.fromkeys(key for row in rows.values() for key in row)
    }
    return {
        key: values
        for key, values in found.items()
        if same or len(values) < len(rows) or len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1
    }


def columns_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the keys of all rows: fields first, then configuration, then metrics, each in order of appearance."""
    seen = dict.fromkeys(key for row in rows for key in row)
    return sorted(seen, key=lambda key: (key.startswith("metrics."), key.startswith("config.")))


def to_csv(documents: Iterable[dict[str, Any]], path: str | Path) -> None:
    """Write a CSV file with a header; what is neither text nor number stands as JSON."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = [flat(document) for document in documents]
        write_csv(rows, columns_of(rows), file)


def write_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(row.get(column)) for column in columns] for row in rows)


def plain(value: Any) -> Any:
    """Return a value as one that a cell can hold."""
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def to_pandas(documents: Iterable[dict[str, Any]]) -> Any:
    return frame([flat(document) for document in documents])


def frame(rows: Sequence[dict[str, Any]]) -> Any:
    """Return rows as a DataFrame."""
    return _needed("pandas", "to_pandas").DataFrame(list(rows), columns=columns_of(rows))


def to_parquet(documents: Iterable[dict[str, Any]], path: str | Path) -> None:
    rows = [flat(document) for document in documents]
    write_parquet(rows, columns_of(rows), path)


def write_parquet(rows: Sequence[dict[str, Any]], columns: Sequence[str], where: str | Path | BinaryIO) -> None:
    pyarrow = _needed("pyarrow", "to_parquet")
    parquet = _needed("pyarrow.parquet", "to_parquet")
    arrays = {name: _column(pyarrow, [row.get(name) for row in rows]) for name in columns}
    parquet.write_table(pyarrow.table(arrays), str(where) if isinstance(where, Path) else where)


def _column(pyarrow: Any, values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return pyarrow.array([None if value is None else float(value) for value in values])
    if len(kinds) <= 1 and not kinds & {dict, list}:
        try:
            return pyarrow.array([plain(value) if kinds == {str} else value for value in values])
        except (OverflowError, pyarrow.ArrowInvalid):  # integers beyond 64 bits
            pass
    # A column has one type; what has none in common is text.
    return pyarrow.array([None if value is None else str(plain(value)) for value in values])


def _needed(package: str, what: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        name = package.partition(".")[0]
        raise MissingPackageError(f"{what} needs {name}; install it with: pip install {name}") from error
