"""The keys that occur in documents, so that a name in a query can be resolved, listed and corrected.

Kept in the table `key`; a name once seen stays, because forgetting would mean counting. Names with a quote, a backslash
or a control character cannot stand in an SQLite path and are not listed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from logferry_collector.where import Key

# Deeper maps are data rather than settings that anybody sorts by.
_MAX_DEPTH = 6
_MAX_NAME = 512


class Catalogue:
    """Adds the keys of documents within the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen: set[Key] = set()

    def add(self, document: dict[str, Any]) -> None:
        new = [key for key in keys_of(document) if key not in self._seen]
        if not new:
            return
        self._connection.executemany(
            "INSERT OR IGNORE INTO key VALUES (?, ?, ?)",
            [(key.section, key.name, json.dumps(key.path, ensure_ascii=False)) for key in new],
        )
        self._seen.update(new)

    def forget(self) -> None:
        """Trust the table only: a transaction was undone."""
        self._seen.clear()


def keys_of(document: dict[str, Any]) -> Iterator[Key]:
    """Return the keys of a document whose values are no maps."""
    for name, value in document.items():
        if name in {"config", "metrics"} and isinstance(value, dict):
            yield from _leaves(name, (), value)
        else:
            yield from _leaves("field", (), {name: value})


def _leaves(section: str, path: tuple[str, ...], mapping: dict[str, Any]) -> Iterator[Key]:
    for name, value in mapping.items():
        if not name or not name.isprintable() or '"' in name or "\\" in name or len(name) > _MAX_NAME:
            continue
        here = (*path, name)
        if isinstance(value, dict) and value and len(here) < _MAX_DEPTH:
            yield from _leaves(section, here, value)
        else:
            yield Key(section, here)
