"""The results store: one protocol, and which backend a URL names.

A backend keeps files' cursors, the rows of those files, and what was refused, and commits them together. It is used by
one thread at a time; several processes may have the same store open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from logferry.layout import Home, filesystem_type, is_network, prepare_node_dir
from logferry.settings import Settings
from logferry_collector.records import FileState, Intake, Reject, Stamp
from logferry_collector.where import Key, Query


class StoreError(Exception):
    """The store cannot be used."""


class StoreRefusedError(StoreError):
    """It never will be usable as it is; the message says what to set instead."""


class StoreDownError(StoreError):
    """It cannot be read or written now (locked, full, read-only): try again later. Nothing was changed."""


class QueryError(StoreError):
    """A user's query is not one that the database takes; the message is the database's own."""


class Store(Protocol):
    """What every backend does. Any method may raise `StoreDownError`."""

    @property
    def url(self) -> str: ...

    # Writing
    def stamps(self) -> dict[str, Stamp]:
        """Return the stamp of every file that is known, taken in or refused."""

    def files(self, paths: Sequence[str]) -> dict[str, FileState]:
        """Return what is known of some files."""

    def inodes(self, some: Sequence[int]) -> set[int]:
        """Return which of some inodes a file had when it was last read."""

    def files_of_inode(self, stamp: Stamp) -> list[FileState]:
        """Return the files that had this device and inode when they were last read."""

    def beside_hidden(self, runs: Sequence[tuple[str, str]]) -> list[FileState]:
        """Return the files that hold parts and edits of those of some runs that are not shown."""

    def commit(self, intakes: Sequence[Intake]) -> list[bool]:
        """Commit some files' changes in one transaction; say of each whether its version still held."""

    def drop_rejects(self, paths: Sequence[str]) -> None:
        """Forget what was refused of some files that are gone; one that comes back is read as if it had changed."""

    # Reading
    def keys(self) -> list[Key]:
        """Return the keys that occur in any document, in order of section and name."""

    def documents(self, query: Query) -> Iterator[dict[str, Any]]:
        """Return the result documents of a query, whole and in order."""

    def values(self, query: Query, keys: Sequence[Key]) -> Iterator[tuple[Any, ...]]:
        """Return some values of each result of a query; None where a result has none."""

    def means(
        self, query: Query, keys: Sequence[Key], over: Key | None, metrics: Sequence[Key]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the keys' values, that of `over`, and of each metric how many runs have it, and their mean.

        A row stands for a repetition, the runs of a group that agree in `over`; a run without it is one by itself, and
        has None there.
        """

    def count(self, query: Query) -> int:
        """Return how many results a query has."""

    def runs_like(self, text: str) -> list[tuple[str, str]]:
        """Return (experiment id, run id) of runs whose id is `text`, else of those that begin or end with it."""

    def files_of_run(self, experiment_id: str, run_id: str) -> list[tuple[str, bool, bool]]:
        """Return (path, is a part, is the winner) of each file with a row for a run, the winner first."""

    def running_hosts(self) -> list[str]:
        """Return the hosts of runs whose status is RUNNING."""

    def rejects(self) -> list[tuple[str, Reject]]:
        """Return what was refused, by path."""

    def counts(self) -> tuple[int, int]:
        """Return how many results and how many rejects there are."""

    def ask(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Return columns and rows of a query in the database's own language, which cannot write.

        Raises:
            QueryError: it is no query, or would write.

        """

    def check(self) -> None:
        """Raise `StoreDownError` where what was opened is no longer what the URL names."""

    def close(self) -> None: ...


def url_of(settings: Settings) -> str:
    """Return the URL of the store in force: the one that is set, or the default place for this home.

    Raises:
        LayoutError: the default would lie in a node directory that cannot be used.

    """
    if settings.store:
        return settings.store
    if is_network(filesystem_type(settings.home)):
        return str(prepare_node_dir(settings.node_dir).path / "results.db")
    return str(Home(settings.home).store)


def shown(url: str) -> str:
    """Return a URL without its password, for messages and files that others read."""
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1…", re.sub(r"(//[^/@:]*):[^/]*@", r"\1:…@", url))


def open_url(url: str, *, busy_s: float = 10.0) -> Store:
    """Open the store that a URL or path names, and bring it to the present version.

    Raises:
        StoreRefusedError: the URL, the place or the store's version cannot be used.
        StoreDownError: it cannot be opened now.

    """
    # A backend is imported when it is used: only one of them is, and not by every verb.
    from logferry_collector.store.relational import Relational  # noqa: PLC0415

    scheme, separator, rest = url.partition(":")
    if separator and scheme in {"postgres", "postgresql"}:
        from logferry_collector.store.postgres import Postgres  # noqa: PLC0415

        return Relational(Postgres(url))
    if separator and scheme != "sqlite" and "/" not in scheme:
        raise StoreRefusedError(
            f"store {shown(url)!r} is neither a path nor sqlite:PATH nor postgresql://…; set LOGFERRY_STORE to one"
        )
    path = (rest.removeprefix("//") if scheme == "sqlite" and separator else url) or ""
    if not path:
        raise StoreRefusedError(f"store {url!a} names no file; set LOGFERRY_STORE to a path")
    from logferry_collector.store.sqlite import SQLite  # noqa: PLC0415

    return Relational(SQLite(Path(path).expanduser().absolute(), busy_s))
