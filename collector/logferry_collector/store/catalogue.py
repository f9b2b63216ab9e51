"""The keys that occur in documents, so that a name in a query can be resolved, listed and corrected.

Kept in the table `key`; a name once seen stays, because forgetting would mean counting. Names with a quote, a backslash
or a control character cannot stand in an SQLite path and are not listed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from logferry_collector.where import SECTIONS

# Deeper maps are data rather than settings that anybody sorts by.
_MAX_DEPTH = 6
_MAX_NAME = 512


class Catalogue:
    """Adds the keys of documents within the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen: dict[str, set[str]] = {section: set() for section in SECTIONS}

    def add(self, document: dict[str, Any]) -> None:
        config, metrics = document.get("config") or {}, document.get("metrics") or {}
        for section, mapping in zip(SECTIONS, (document, config, metrics), strict=True):
            seen = self._seen[section]
            for name, value in mapping.items():
                # Almost every document has the names of the one before it; maps may hold others each time.
                if name not in seen or type(value) is dict:
                    self._put(section, name, value)
                    seen.add(name)

    def _put(self, section: str, name: str, value: Any) -> None:
        if section == "field" and name in SECTIONS:
            return
        self._connection.executemany(
            "INSERT OR IGNORE INTO key VALUES (?, ?, ?)",
            [(section, ".".join(path), json.dumps(path, ensure_ascii=False)) for path in _leaves((), {name: value})],
        )

    def forget(self) -> None:
        """Trust the table only: a transaction was undone."""
        for seen in self._seen.values():
            seen.clear()


def _leaves(path: tuple[str, ...], mapping: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of what is no map."""
    for name, value in mapping.items():
        if not name or not name.isprintable() or '"' in name or "\\" in name or len(name) > _MAX_NAME:
            continue
        here = (*path, name)
        if isinstance(value, dict) and value and len(here) < _MAX_DEPTH:
            yield from _leaves(here, value)
        else:
            yield here
