"""What Arrow's arrays come to as Python's values: checked and counted before any is made.

Few bytes may stand for much: one long text of a dictionary in a million rows, lists of nothing at all. And in a file
that somebody damaged, offsets and indices point anywhere. So arrays are validated first, then values and bytes of text
are counted, each as often as it occurs. Kinds of which that is not known beforehand are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from logferry_collector.formats.content import MAX_CELLS, MAX_UNPACKED, BeyondError

_MAX_BYTES = 4 * MAX_UNPACKED


class Spread:
    """Counts what all batches of a file come to."""

    def __init__(self) -> None:
        self._values = self._bytes = 0

    def add(self, batch: Any) -> None:
        """Count a batch.

        Raises:
            BeyondError: with it, it is too much.
            pyarrow.ArrowInvalid: the batch is damaged.

        """
        batch.validate(full=True)
        for array in batch.columns:
            for values, size in _parts(array):
                self._values, self._bytes = self._values + values, self._bytes + size
                if self._values > MAX_CELLS:
                    raise BeyondError(f"more than {MAX_CELLS} values")
                if self._bytes > _MAX_BYTES:
                    raise BeyondError(f"unpacks to more than {_MAX_BYTES >> 20} MiB of text")


def _parts(array: Any) -> Iterator[tuple[int, int]]:
    """Yield values and bytes of an array and of all arrays inside of it."""
    import pyarrow  # noqa: PLC0415 - as in arrow.py

    kind, types = array.type, pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        yield from _parts(array.storage)
        return
    if types.is_dictionary(kind):
        yield len(array), _text_bytes(array.dictionary, array.indices)
        return
    yield len(array), _text_bytes(array)
    if types.is_map(kind):
        inner = [array.keys, array.items]
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_struct(kind):
        inner = array.flatten()
        inner = inner if isinstance(inner, list) else [inner]
    elif types.is_nested(kind) or types.is_run_end_encoded(kind):
        raise BeyondError(f"has a column of Arrow's type {str(kind)[:80]}, which is not read")
    else:
        inner = []
    for one in inner:
        yield from _parts(one)


def _text_bytes(array: Any, indices: Any = None) -> int:
    """Return the bytes of an array's texts, or of those that some indices pick."""
    import pyarrow  # noqa: PLC0415
    import pyarrow.compute  # noqa: PLC0415

    kind, types, compute = array.type, pyarrow.types, pyarrow.compute
    if indices is not None and (types.is_nested(kind) or types.is_dictionary(kind)):
        raise BeyondError(f"has a dictionary of Arrow's type {str(kind)[:80]}, which is not read")
    if types.is_string_view(kind) or types.is_binary_view(kind):
        lengths = pyarrow.array(_view_lengths(array))
    elif any(is_text(kind) for is_text in (types.is_string, types.is_large_string, types.is_binary,
                                           types.is_large_binary, types.is_fixed_size_binary)):  # fmt: skip
        lengths = compute.binary_length(array)
    else:
        return 0
    picked = lengths if indices is None else lengths.take(indices)
    return int(compute.sum(picked).as_py() or 0)


def _view_lengths(array: Any) -> list[int]:
    """Return the lengths of views, of which each is 16 bytes that begin with it; no function of Arrow tells them."""
    views = array.buffers()[1]
    return memoryview(views).cast("i")[4 * array.offset : 4 * (array.offset + len(array)) : 4].tolist() if views else []
