"""Indexes made for what is asked, so that the same question asked again is fast.

A question with an order and a limit gets an index that holds its order and what it filters by: walked in order until
enough is found, and at worst read whole, which is a tenth of the table. Another one gets an index per key that it
filters by. Groups get one that has all they need, in their order: then no document is looked at.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from logferry_collector.store import StoreDownError, StoreRefusedError
from logferry_collector.store.database import ASKED, Cover, Database
from logferry_collector.store.fragment import Sql
from logferry_collector.store.query_sql import QuerySQL
from logferry_collector.where import Has, Key, Query, conditions_of, keys_of

# Below this a scan is as fast as an index, and most homes stay below it.
_FROM_ROWS = 2_000
# Each costs every later write; the oldest makes room.
_MOST = 16
_MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An index by some keys, in an order if `desc` says which; with `filtered` of groups, and of all they need."""

    keys: tuple[Key, ...]
    desc: bool | None = None
    measured: tuple[Key, ...] = ()
    filtered: tuple[Key, ...] | None = None

    @property
    def name(self) -> str:
        # A path may hold any sign; its checksum is a name. Keys of one checksum share an index: only slower.
        said = [self.keys, self.desc, self.measured, self.filtered]
        return f"{ASKED}{zlib.crc32(json.dumps(said).encode()):08x}"


class Indexes:
    """Knows which indexes there are, and makes those that are missing; never fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._may_make = True

    def serve(self, query: Query) -> Sql:
        """Make what serves a query; return what stands behind the table's name so that it is used."""
        filtered = list(dict.fromkeys(keys_of(query.where)))
        if query.sort is not None and query.limit is not None and query.first_of is None:
            keys = tuple(dict.fromkeys([query.sort, *filtered]))[:_MAX_KEYS]
            name = self._make([_Wanted(keys, query.desc)])
            return self._database.using(name) if name else Sql("")
        self._make([_Wanted((key,)) for key in filtered if key.section != "field"])
        return Sql("")

    def cover(self, query: Query, keys: Sequence[Key], metrics: Sequence[Key], filtered: Sequence[Key]) -> Cover | None:
        """Make an index that has all that groups by some keys need, where that is little."""
        needed = {*keys, *metrics, *filtered}
        lists = any(isinstance(one, Has) for one in conditions_of(query.where))
        silent = query.lost_hosts and any(key.full_name == "status" for key in needed)
        if len(needed) > _MAX_KEYS or lists or silent or query.first_of is not None:
            return None
        name = self._make([_Wanted(tuple(keys), measured=tuple(metrics), filtered=tuple(filtered))])
        bare = QuerySQL(self._database, query)
        operands = ([bare.operand(key) for key in some] for some in (keys, metrics, filtered))
        return self._database.covered(name, *operands) if name else None

    def _make(self, wanted: Sequence[_Wanted]) -> str:
        """Return the name of the first that is wanted, where it is there."""
        names = {one.name: one for one in wanted if any(key.section != "field" for key in (*one.keys, *one.measured))}
        there: list[str] = []
        # It is speed only: who may not write, or finds the store busy, goes without.
        with suppress(StoreDownError):
            there = self._database.indexes(ASKED) if names else []
            missing = [one for name, one in names.items() if name not in there]
            if missing and self._may_make and self._is_large():
                self._add(missing)
                there = self._database.indexes(ASKED)
                for old in there[:-_MOST]:
                    self._database.drop_index(old)
        return next((name for name in names if name in there), "")

    def _add(self, missing: Sequence[_Wanted]) -> None:
        bare = QuerySQL(self._database, Query())
        try:
            with self._database.writing() as session:
                for one in missing:
                    keys, measured = ([bare.operand(key) for key in some] for some in (one.keys, one.measured))
                    if one.filtered is None:
                        self._database.index(session, one.name, keys, desc=one.desc)
                    else:
                        filtered = [bare.operand(key) for key in one.filtered]
                        self._database.cover(session, one.name, keys, measured, filtered)
        except StoreRefusedError:
            # A role that may only read; to ask again would only wait for the writer.
            self._may_make = False

    def _is_large(self) -> bool:
        rows = self._database.rows(Sql(f"SELECT count(*) FROM (SELECT 1 FROM result LIMIT {_FROM_ROWS}) AS few"))
        return bool(next(rows)[0] >= _FROM_ROWS)
