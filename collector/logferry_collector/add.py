"""Frames and lists that a program has in memory, as results: `logferry.open_store().add(frame, experiment=…)`.

They go the way of all results: a file of JSON lines below the home's results, which is then taken in. So what was
added is there after the store was lost, and what is added twice under one name is there once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from logferry.layout import Home, safe_component
from logferry.results import finite
from logferry_collector.config import CollectorConfig
from logferry_collector.consolidate import Consolidator
from logferry_collector.discover import Discover
from logferry_collector.formats import Reading
from logferry_collector.formats.values import plain
from logferry_collector.identity import NoResultError, record_of
from logferry_collector.records import Found
from logferry_collector.store import Store


class AddError(ValueError):
    """What was to be added holds no results; nothing was added. The message names the row."""


def add(store: Store, home: Home, config: CollectorConfig, frame: Any, experiment: str | None, name: str | None) -> int:
    """Write rows below a home's results and take them in; return how many; see `query.Reader.add`."""
    documents = documents_of(frame, config.reading)
    found = write(home, documents, experiment, name)
    discover = Discover([], {}, time.time_ns)
    Consolidator(
        store,
        discover,
        settle_s=0,
        batch_files=config.batch_files,
        clock_ns=time.time_ns,
        reading=config.reading,
    ).take(found)
    return len(documents)


def documents_of(frame: Any, reading: Reading) -> list[dict[str, Any]]:
    """Return the documents of a frame of pandas or polars, a table of pyarrow, or mappings.

    Raises:
        AddError: it is none of these, or a value is no data.

    """
    columns = reading.columns
    rows = _rows([frame] if isinstance(frame, Mapping) else frame)
    try:
        if isinstance(rows, list):
            return [columns.nested(plain(dict(row))) for row in rows]
        plan = columns.plan(rows[0])
        return [plan.document(row) for row in zip(*rows[1], strict=True)]
    except (TypeError, ValueError, RecursionError) as error:
        raise AddError(f"a {type(frame).__name__} cannot be read as rows: {error}") from error


_Table = tuple[list[str], list[list[Any]]]


def _rows(frame: Any) -> list[Mapping[str, Any]] | _Table:
    """Return mappings, or the names and values of a table's columns."""
    if hasattr(frame, "collect"):
        raise AddError("a lazy frame has no rows yet; add(frame.collect())")
    if hasattr(frame, "columns"):
        return _table(frame)
    if isinstance(frame, str | bytes) or not isinstance(frame, Iterable):
        raise AddError(f"a {type(frame).__name__} holds no rows; a data frame or a list of mappings does")
    rows = list(frame)
    wrong = next((row for row in rows if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise AddError(f"a row is a {type(wrong).__name__}; a mapping from names to values is expected")
    return rows


def _table(frame: Any) -> _Table:
    if hasattr(frame, "iloc"):  # pandas, where NaN is what is missing
        if type(frame.index).__name__ != "RangeIndex" or frame.index.name is not None:
            frame = frame.reset_index()
        names = [".".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
        values = [frame.iloc[:, number].astype(object).tolist() for number in range(len(names))]
        return _unique(names), [[None if _is_nan(value) else value for value in column] for column in values]
    if hasattr(frame, "column_names"):  # pyarrow
        return _unique(list(frame.column_names)), [column.to_pylist() for column in frame.columns]
    return _unique(list(frame.columns)), [series.to_list() for series in frame.get_columns()]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124 - not a number


def _unique(names: list[str]) -> list[str]:
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise AddError(f"two columns are named {twice!a}")
    return names


def write(home: Home, documents: list[dict[str, Any]], experiment: str | None, name: str | None) -> list[Found]:
    """Write documents below the home's results; return the files, one for each experiment.

    Raises:
        AddError: a document is no result, or names no experiment; nothing was written.
        OSError: a file could not be written.

    """
    label = name or _label(documents)
    files: dict[str, list[bytes]] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, document in enumerate(documents, 1):
        there = {key: value for key, value in document.items() if value is not None}
        row = {"experiment_id": experiment, "run_id": f"{label}-{number}"} | there
        try:
            safe_component(label, "name")
            if row["experiment_id"] is None:
                raise NoResultError("no experiment: add(…, experiment='…'), or a column experiment_id")
            record = record_of(row, Found(f"{home.results}/x/{label}.jsonl", str(home.results)), number, row=True)
        except ValueError as error:
            raise AddError(f"row {number}: {error}") from error
        first = seen.setdefault((record.experiment_id, record.run_id), number)
        if first != number:
            raise AddError(f"row {number}: run {record.experiment_id}/{record.run_id} is in row {first} already")
        files.setdefault(record.experiment_id, []).append(_line(row))
    return [_written(home, experiment_id, label, rows) for experiment_id, rows in files.items()]


def _label(documents: list[dict[str, Any]]) -> str:
    """Return a name that the same rows have again."""
    return f"added-{hashlib.blake2b(b''.join(map(_line, documents)), digest_size=5).hexdigest()}"


def _line(row: dict[str, Any]) -> bytes:
    text = json.dumps(finite(row), ensure_ascii=False, allow_nan=False, default=str)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _written(home: Home, experiment_id: str, label: str, rows: list[bytes]) -> Found:
    directory = home.results / experiment_id
    directory.mkdir(parents=True, exist_ok=True)
    path, temporary = directory / f"{label}.jsonl", directory / f".{label[:100]}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(b"".join(rows))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return Found(str(path), str(home.results))
