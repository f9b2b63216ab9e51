"""Indexes made for what is asked, so that the same question asked again is fast.

A question with an order and a limit gets an index that holds its order and what it filters by: walked in order until
enough is found, and at worst read whole, which is a tenth of the table. Another one gets an index per key that it
filters by.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress

from logferry_collector.store import StoreDownError
from logferry_collector.store.database import Database
from logferry_collector.store.fragment import Sql
from logferry_collector.store.query_sql import QuerySQL
from logferry_collector.where import Key, Query, keys_of

# Below this a scan is as fast as an index, and most homes stay below it.
_FROM_ROWS = 2_000
# Each costs every later write; the oldest makes room.
_MOST = 16
_MAX_KEYS = 8
_PREFIX = "asked_"


class Indexes:
    """Knows which indexes there are, and makes those that are missing; never fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def serve(self, query: Query) -> Sql:
        """Make what serves a query; return what stands behind the table's name so that it is used."""
        filtered = list(dict.fromkeys(keys_of(query.where)))
        if query.sort is not None and query.limit is not None and query.first_of is None:
            keys = list(dict.fromkeys([query.sort, *filtered]))[:_MAX_KEYS]
            name = self._make([keys], query.desc)
            return self._database.using(name) if name else Sql("")
        self._make([[key] for key in filtered if key.section != "field"], query.desc)
        return Sql("")

    def cover(self, keys: Sequence[Key], metrics: Sequence[Key]) -> Sql:
        """Make an index that has all that groups by some keys need, where that is little."""
        whole = [*keys, *metrics]
        name = self._make([whole], False, len(keys)) if len(whole) <= _MAX_KEYS else ""
        return self._database.using(name) if name else Sql("")

    def _make(self, wanted: list[list[Key]], desc: bool, grouped: int = 0) -> str:
        """Return the name of the first that is wanted, where it is there; `grouped` of its keys make groups."""
        names = {_name(keys, desc, grouped): keys for keys in wanted if any(key.section != "field" for key in keys)}
        there: list[str] = []
        # It is speed only: who may not write, or finds the store busy, goes without.
        with suppress(StoreDownError):
            there = self._database.indexes(_PREFIX) if names else []
            missing = [name for name in names if name not in there]
            if missing and self._is_large():
                bare = QuerySQL(self._database, Query())
                with self._database.writing() as session:
                    for name in missing:
                        operands = [bare.operand(key) for key in names[name]]
                        if grouped:
                            self._database.cover(session, name, operands[:grouped], operands[grouped:])
                        else:
                            self._database.index(session, name, operands, desc=desc)
                    for old in there[: max(0, len(there) + len(missing) - _MOST)]:
                        session.run(Sql(f'DROP INDEX IF EXISTS "{old}"'))
                there = self._database.indexes(_PREFIX)
        return next((name for name in names if name in there), "")

    def _is_large(self) -> bool:
        rows = self._database.rows(Sql(f"SELECT count(*) FROM (SELECT 1 FROM result LIMIT {_FROM_ROWS}) AS few"))
        return bool(next(rows)[0] >= _FROM_ROWS)


def _name(keys: list[Key], desc: bool, grouped: int) -> str:
    # A path may hold any sign; its checksum is a name. Keys of one checksum share an index: only slower.
    return f"{_PREFIX}{zlib.crc32(json.dumps([keys, desc, grouped]).encode()):08x}"
