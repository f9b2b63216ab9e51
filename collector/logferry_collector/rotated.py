"""A file that was packed when it was rotated: `all.jsonl.gz`, which was `all.jsonl`, has the same rows, not more.

It is another file to the file system, so only what is in it tells. While the original still stands there, the packed
one waits: whoever packs, writes the one first and removes the other then. When it is gone, its rows go with it. When
something else has its name, both are files of their own.
"""

from __future__ import annotations

import os

from logferry_collector.formats import Packed, names_before
from logferry_collector.records import FileState, Stamp
from logferry_collector.store import Store
from logferry_collector.tail import MARKER_BYTES, digest


def original_of(store: Store, path: str, form: Packed, data: bytes) -> FileState | None:
    """Return the file whose rows a packed one holds, as the store knows it, or None."""
    directory, name = os.path.split(path)
    known = store.files([f"{directory}/{before}" for before in names_before(name)])
    content = form.plain(data) if known else b""
    return next((state for state in known.values() if _holds(content, state)), None)


def stands(state: FileState) -> bool:
    """Say whether a file is still there as the store knows it, or longer."""
    try:
        now = Stamp.at(state.path)
    except FileNotFoundError:
        return False
    return now[:2] == state.stamp[:2] and now.size >= state.offset


def _holds(content: bytes, state: FileState) -> bool:
    if not 0 < state.offset <= len(content):
        return False
    return digest(content[max(0, state.offset - MARKER_BYTES) : state.offset]) == state.marker
