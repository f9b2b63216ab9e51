"""Rows that have to be seen to their end before the first is written, of which memory may have no room for all."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import TypeVar

# Rows that are kept lie in memory up to here, beyond in a file.
_KEPT_BYTES = 1 << 20
_Row = TypeVar("_Row")
_Seen = TypeVar("_Seen")


@contextmanager
def kept(rows: Iterable[_Row], look: Callable[[Iterator[_Row]], _Seen]) -> Iterator[tuple[_Seen, Iterator[_Row]]]:
    """Have rows, which are plain data, looked at to their end; give what was seen, and the rows again."""
    with SpooledTemporaryFile(_KEPT_BYTES, "w+", encoding="ascii") as file:

        def keep() -> Iterator[_Row]:
            for row in rows:
                file.write(json.dumps(row) + "\n")
                yield row

        seen = look(keep())
        file.seek(0)
        yield seen, map(json.loads, file)


def exhausted(rows: Iterable[object]) -> None:
    """See rows to their end."""
    deque(rows, maxlen=0)
