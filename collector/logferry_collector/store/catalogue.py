"""The keys that occur in documents, so that a name in a query can be resolved, listed and corrected.

Kept in the table `key`; a name once seen stays, because forgetting would mean counting. Names with a quote, a backslash
or a control character cannot stand in an SQLite path and are not listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from logferry_collector.store.values import Texts
from logferry_collector.where import SECTIONS

# Deeper maps are data rather than settings that anybody sorts by.
_MAX_DEPTH = 6
# With its dots; PostgreSQL's index has room for 2,700 bytes.
_MAX_NAME = 512


class Catalogue:
    """Gathers the keys of documents; what is in the store already is remembered."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {section: set() for section in SECTIONS}
        self._new: list[tuple[str, str, str]] = []

    def add(self, document: dict[str, Any], made: Texts) -> None:
        """Add the keys of a document, which is at hand as JSON too."""
        config, metrics = document.get("config") or {}, document.get("metrics") or {}
        parts = zip(SECTIONS, (document, config, metrics), (made.fields, made.config, made.metrics), strict=True)
        for section, mapping, text in parts:
            seen = self._seen[section]
            # Almost every document has the names of the one before it; maps may hold others each time.
            if mapping.keys() <= seen and text.find("{", 1) < 0:
                continue
            for name, value in mapping.items():
                if name not in seen or type(value) is dict:
                    self._put(section, name, value)
                    if type(value) is not dict:  # elsewhere it may be a value of its own
                        seen.add(name)

    def take_new(self) -> list[tuple[str, str, str]]:
        """Return the rows of the table that were added since this was called last."""
        new, self._new = self._new, []
        return new

    def forget(self) -> None:
        """Trust the table only: a transaction was undone."""
        self._new.clear()
        for seen in self._seen.values():
            seen.clear()

    def _put(self, section: str, name: str, value: Any) -> None:
        if section == "field" and name in SECTIONS:
            return
        for path in _leaves((), {name: value}):
            full = ".".join(path)
            if full not in self._seen[section] and len(full) <= _MAX_NAME:
                self._seen[section].add(full)
                self._new.append((section, full, json.dumps(path, ensure_ascii=False)))


def _leaves(path: tuple[str, ...], mapping: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of what is no map."""
    for name, value in mapping.items():
        if not name or not name.isprintable() or '"' in name or "\\" in name:
            continue
        here = (*path, name)
        if isinstance(value, dict) and value and len(here) < _MAX_DEPTH:
            yield from _leaves(here, value)
        else:
            yield here
