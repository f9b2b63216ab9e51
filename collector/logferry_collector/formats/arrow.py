"""Parquet, Feather and Arrow IPC: tables of columns with types; a row is a result.

How much there is, is asked of the file's own heads before any is read (messages.py), and what each batch comes to is
counted before it is made (spread.py). An index that pandas put in is a column of its name (`index` without one); a
plain numbering is none. Missing values make no key.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from logferry_collector.formats.content import (
    MAX_CELLS,
    MAX_ROWS,
    MAX_UNPACKED,
    BeyondError,
    Content,
    Reading,
    refused,
    unparsed,
)
from logferry_collector.formats.messages import FILE, unpacked_bytes
from logferry_collector.formats.spread import Spread
from logferry_collector.records import Fault, Parsed, Reject

_BATCH_ROWS = 1000
_TEXT = "BYTE_ARRAY"


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
            spread = Spread()
            for batch in self._batches(data):
                spread.add(batch)
                _take(batch, content, parsed)
        except BeyondError as error:
            return refused(data, str(error))
        except MemoryError:
            raise
        except Exception as error:  # pyarrow's errors are many, and those of a damaged file any of them
            return unparsed(data, f"not {self._kind}: {' '.join(str(error).split())[:300]}")
        return parsed

    def _batches(self, data: bytes) -> Iterator[Any]:
        import pyarrow  # noqa: PLC0415 - of the extra `all`, and slow to import
        import pyarrow.parquet  # noqa: PLC0415

        source = pyarrow.BufferReader(data)
        head = pyarrow.parquet.read_metadata(source)
        size = sum(head.row_group(number).total_byte_size for number in range(head.num_row_groups))
        _bound(head.num_rows, head.num_columns, size)
        # A text that stands for many rows stays one, and is counted before it is many. Of the schema's columns: to ask
        # a row group for one of its own ends the process where the file is damaged (pyarrow 26).
        leaves = [head.schema.column(number) for number in range(head.num_columns)]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == _TEXT]
        file = pyarrow.parquet.ParquetFile(source, metadata=head, read_dictionary=texts)
        yield from file.iter_batches(_BATCH_ROWS)


class Arrow(Parquet):
    suffixes = (".feather", ".arrow", ".ipc", ".arrows")
    _kind = "Arrow"

    def _batches(self, data: bytes) -> Iterator[Any]:
        import pyarrow  # noqa: PLC0415 - of the extra `all`, and slow to import
        import pyarrow.feather  # noqa: PLC0415

        buffer = pyarrow.py_buffer(data)
        source = pyarrow.BufferReader(buffer)
        if data.startswith(b"FEA1"):
            yield from pyarrow.feather.read_table(source).to_batches()
            return
        size = 0
        for unpacked in unpacked_bytes(buffer):
            size += unpacked
            _bound(0, 0, size)
        batches: Iterator[Any] = (
            iter(pyarrow.ipc.open_stream(source)) if not data.startswith(FILE) else _of_file(source)
        )
        rows = size = 0
        for batch in batches:
            rows, size = rows + batch.num_rows, size + batch.nbytes
            _bound(rows, batch.num_columns, size)
            yield batch


def _of_file(source: Any) -> Iterator[Any]:
    import pyarrow  # noqa: PLC0415

    file = pyarrow.ipc.open_file(source)
    return (file.get_batch(number) for number in range(file.num_record_batches))


def _bound(rows: int, columns: int, size: int) -> None:
    if rows > MAX_ROWS or rows * columns > MAX_CELLS:
        limits = f"{MAX_ROWS} rows and {MAX_CELLS} cells"
        raise BeyondError(f"{rows} rows of {columns} columns; at most {limits} are read")
    if size > 4 * MAX_UNPACKED:
        raise BeyondError(f"unpacks to {size >> 20} MiB; at most {4 * MAX_UNPACKED >> 20} MiB are read")


def _rows(batch: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a batch, made little at a time."""
    for start in range(0, batch.num_rows, _BATCH_ROWS):
        part = batch.slice(start, _BATCH_ROWS)
        yield from zip(*(_decoded(column).to_pylist() for column in part.columns), strict=True)


def _decoded(column: Any) -> Any:
    """Return a column without its dictionary, by which each value is a slow look-up; of views, Arrow cannot do it."""
    kind = getattr(column.type, "value_type", None) if hasattr(column, "dictionary") else None
    return column.dictionary_decode() if kind is not None and "view" not in str(kind) else column


def _take(batch: Any, content: Content, into: Parsed) -> None:
    """Add the rows of a batch, each refused by itself."""
    plan = content.reading.columns.plan(_names(batch.schema))
    first = len(into.documents) + len(into.rejects) + 1
    for number, row in enumerate(_rows(batch), first):
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
