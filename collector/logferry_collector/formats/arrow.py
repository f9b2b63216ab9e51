"""Parquet, Feather and Arrow IPC: tables of columns with types; a row is a result.

How many cells there are is asked of the file's own head before any is read. An index that pandas put in is a column
of its name (`index` without one); a plain numbering is none. Missing values make no key.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from logferry_collector.formats.content import (
    MAX_CELLS,
    MAX_UNPACKED,
    BeyondError,
    Content,
    Reading,
    refused,
    unparsed,
)
from logferry_collector.records import Fault, Parsed, Reject

_BATCH_ROWS = 1000


class Parquet:
    suffixes: tuple[str, ...] = (".parquet", ".pq")
    grows = False
    max_bytes = MAX_UNPACKED
    _kind = "Parquet"

    def missing(self, reading: Reading) -> str:  # noqa: ARG002 - the package is all
        return "" if find_spec("pyarrow") else "needs pyarrow; install it with: pip install 'logferry[all]'"

    def parse(self, content: Content) -> Parsed:
        data = content.data
        parsed = Parsed([], len(data), 0, rows=True)
        try:
            for batch in self._batches(data):
                _take(batch, content, parsed)
        except BeyondError as error:
            return refused(data, str(error))
        except Exception as error:  # pyarrow's errors are many, and those of a damaged file any of them
            return unparsed(data, f"not {self._kind}: {' '.join(str(error).split())[:300]}")
        return parsed

    def _batches(self, data: bytes) -> Iterator[Any]:
        import pyarrow  # noqa: PLC0415 - of the extra `all`, and slow to import
        import pyarrow.parquet  # noqa: PLC0415

        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        _bound(file.metadata.num_rows, len(file.schema_arrow), file.metadata)
        size = 0
        for batch in file.iter_batches(
            _BATCH_ROWS
        ):  # one text may stand for a million rows, of which the head says nothing
            size += batch.nbytes
            _bound(0, 0, None, size)
            yield batch


class Arrow(Parquet):
    suffixes = (".feather", ".arrow", ".ipc", ".arrows")
    _kind = "Arrow"

    def _batches(self, data: bytes) -> Iterator[Any]:
        import pyarrow  # noqa: PLC0415 - of the extra `all`, and slow to import
        import pyarrow.feather  # noqa: PLC0415

        source = pyarrow.BufferReader(data)
        if data.startswith(b"ARROW1"):
            file = pyarrow.ipc.open_file(source)
            batches: Iterator[Any] = (file.get_batch(number) for number in range(file.num_record_batches))
        elif data.startswith(b"FEA1"):
            batches = iter(pyarrow.feather.read_table(source).to_batches())
        else:
            batches = iter(pyarrow.ipc.open_stream(source))
        rows = size = 0
        for batch in batches:
            rows, size = rows + batch.num_rows, size + batch.nbytes
            _bound(rows, batch.num_columns, None, size)
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)


def _bound(rows: int, columns: int, metadata: Any, size: int = 0) -> None:
    if rows * max(columns, 1) > MAX_CELLS:
        raise BeyondError(f"{rows} rows of {columns} columns; at most {MAX_CELLS} cells are read")
    if metadata is not None:
        size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if size > 4 * MAX_UNPACKED:
        raise BeyondError(f"unpacks to {size >> 20} MiB; at most {4 * MAX_UNPACKED >> 20} MiB are read")


def _take(batch: Any, content: Content, into: Parsed) -> None:
    """Add the rows of a batch, each refused by itself."""
    plan = content.reading.columns.plan(_names(batch.schema))
    first = len(into.documents) + len(into.rejects) + 1
    rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
    for number, row in enumerate(rows, first):
        try:
            into.documents.append((number, plan.document(row)))
        except (ValueError, RecursionError, OverflowError) as error:
            into.rejects.append(Reject(number, Fault.INVALID, str(error)))


def _names(schema: Any) -> list[str]:
    """Return the names of the columns; that of an index without one is made up by pandas."""
    names = [str(name) for name in schema.names]
    if len(set(names)) < len(names):
        raise BeyondError("two columns have one name")
    made_up = {"__index_level_0__": "index"} if b"pandas" in (schema.metadata or {}) else {}
    return [made_up.get(name, name) for name in names]
