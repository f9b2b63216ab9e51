"""The read side: the one thing that the command line, the Python interface and the page call.

    with logferry.open_store() as store:
        for document in store.results("status = COMPLETED and metrics.test_accuracy > 0.9", sort="test_accuracy"):
            ...

What is read is taken in first where no collector runs for the home, so that an answer is never older than the question.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from logferry.layout import Home
from logferry.settings import Settings, load
from logferry_collector import export, running
from logferry_collector.config import load_config
from logferry_collector.group import Groups, grouped
from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.records import Reject
from logferry_collector.silence import SILENT_NS, silent_hosts
from logferry_collector.store import Store, StoreDownError, open_url, url_of
from logferry_collector.takein import TakeIn
from logferry_collector.where import And, Key, Literal, OneOf, Query, WhereError, keys_of

RUN_ID, EXPERIMENT_ID = Key("field", ("run_id",)), Key("field", ("experiment_id",))


class UnknownRunError(LookupError):
    """A run was named that is not there, or by a part of an id that several have."""


class Results:
    """Results in an order, read from the store when they are asked for."""

    def __init__(self, store: Store, query: Query, names: Names) -> None:
        self._store, self._query, self.names = store, query, names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._store.documents(self._query)

    def __len__(self) -> int:
        return sum(1 for _ in self._store.values(self._query, [RUN_ID]))

    def group(
        self,
        by: str | Sequence[str],
        over: str | None = "seed",
        agg: str | Sequence[str] = ("n", "mean", "std"),
        metrics: Sequence[str] | None = None,
    ) -> Groups:
        """Aggregate metrics over the runs that have the same values of some keys.

        Args:
            by: the keys that make a group.
            over: the key that tells repetitions apart: runs of one group with the same value of it count as one, by
                their mean. A run without it counts by itself.
            agg: of `n mean std min max`; `std` is the sample standard deviation.
            metrics: which; all of them by default.

        Raises:
            WhereError: there is no such key.

        """
        keys = [self.names.resolve(name) for name in ([by] if isinstance(by, str) else by)]
        inner = self._over(over, keys)
        wanted = [self.names.resolve(name) for name in metrics] if metrics is not None else self._metrics()
        self._store.prepare(keys)
        values = self._store.values(self._query, [*keys, *inner, *wanted])
        return grouped(values, keys, bool(inner), wanted, [agg] if isinstance(agg, str) else agg)

    def diff(self, *run_ids: str) -> dict[str, dict[str, Any]]:
        """Return the keys in which some of these runs differ, each with the value of every run that has it.

        Maps are taken apart into dotted keys. Without ids: these results.

        Raises:
            UnknownRunError: no run, or more than one, is meant by an id.

        """
        if run_ids:
            ids = {run: only_run(self._store, run) for run in run_ids}
            return export.differences({run: document_of(self._store, self._query, *ids[run]) for run in run_ids})
        documents = list(self)
        names = Counter(document["run_id"] for document in documents)
        return export.differences(
            {
                one["run_id"] if names[one["run_id"]] == 1 else f"{one['experiment_id']}/{one['run_id']}": one
                for one in documents
            }
        )

    def to_pandas(self) -> Any:
        """Return a DataFrame with a column per key; needs pandas."""
        return export.to_pandas(self)

    def to_csv(self, path: str | Path) -> None:
        export.to_csv(self, path)

    def to_parquet(self, path: str | Path) -> None:
        """Write a Parquet file; needs pyarrow."""
        export.to_parquet(self, path)

    def _metrics(self) -> list[Key]:
        return [key for key in self.names.known if key.section == "metrics"]

    def _over(self, over: str | None, keys: list[Key]) -> list[Key]:
        if over is None:
            return []
        try:
            key = self.names.resolve(over)
        except WhereError:
            if over == "seed":  # the default is an offer, not a demand
                return []
            raise
        return [] if key in keys else [key]


class Reader:
    """An open results store.

    Args:
        store: an open one; closed with this.
        home: whose results the store is of, for what fell silent and for files that are not in yet.
        take_in: called before each question; None where a collector does that.
        clock_ns: the time of day.

    """

    def __init__(
        self,
        store: Store,
        home: Home,
        take_in: Callable[[], object] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.store, self.home = store, home
        self._take_in, self._clock_ns = take_in, clock_ns
        self.stale = ""  # why the answers may be older than the files

    def results(
        self, where: str | None = None, sort: str | None = None, desc: bool = False, limit: int | None = None
    ) -> Results:
        """Return results, in the order of their ids unless `sort` names a key; what lacks that key comes last.

        Raises:
            WhereError: `where` or `sort` cannot be understood.

        """
        query = self._fresh_query()
        names = Names(self.store.keys())
        condition = parse(where or "", names)
        key = names.resolve(sort) if sort else None
        self.store.prepare(keys_of(condition) + ([key] if key else []))
        return Results(self.store, replace(query, where=condition, sort=key, desc=desc, limit=limit), names)

    def run(self, text: str) -> dict[str, Any]:
        """Return the result of the one run whose id is, begins or ends with a text; or `experiment/run`.

        Raises:
            UnknownRunError: no run, or more than one.

        """
        query = self._fresh_query()
        return document_of(self.store, query, *only_run(self.store, text))

    def rejects(self) -> list[tuple[str, Reject]]:
        """Return what was refused, by path."""
        self.refresh()
        return self.store.rejects()

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _fresh_query(self) -> Query:
        self.refresh()
        now_ns = self._clock_ns()
        lost = silent_hosts(self.home.agents, self.store.running_hosts(), now_ns)
        return Query(lost_hosts=lost, lost_before_ns=now_ns - SILENT_NS)

    def refresh(self) -> None:
        """Take in what is new, where no collector does that."""
        if self._take_in is not None:
            try:
                self._take_in()
                self.stale = ""
            except StoreDownError as error:  # what is in there can be read all the same
                self.stale = str(error)


def only_run(store: Store, text: str) -> tuple[str, str]:
    """Return the ids of the one run that a text means.

    Raises:
        UnknownRunError: no run, or more than one.

    """
    found = store.runs_like(text)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownRunError(f"no run {text!a}; 'logferry runs' lists them")
    some = ", ".join("/".join(run) for run in found[:4]) + (" …" if len(found) > 4 else "")
    raise UnknownRunError(f"run {text!a} may be any of {len(found)}: {some}")


def document_of(store: Store, query: Query, experiment_id: str, run_id: str) -> dict[str, Any]:
    """Return one run's result document.

    Raises:
        UnknownRunError: it is not there any more.

    """
    ids: Iterable[tuple[Key, str]] = [(EXPERIMENT_ID, experiment_id), (RUN_ID, run_id)]
    where = And(tuple(OneOf(key, (Literal(value, value),)) for key, value in ids))
    for document in store.documents(replace(query, where=where, sort=None, limit=1)):
        return document
    raise UnknownRunError(f"run {experiment_id}/{run_id} is no longer there; 'logferry runs' lists those that are")


def open_store(url: str | None = None) -> Reader:
    """Open the results store.

    Args:
        url: a path or URL; the store of the settings in force by default. Another one is only read.

    Raises:
        StoreError: it cannot be opened; the message says what to do.

    """
    return open_reader(load(), url)


def open_reader(settings: Settings, url: str | None = None) -> Reader:
    """Open the store of some settings, or another one to read only what is there."""
    home, own = Home(settings.home), url_of(settings)
    store = open_url(url or own)
    if url and url != own:
        return Reader(store, home)
    if running.runs(home, own):
        reader = Reader(store, home)
        reader.stale = running.held(home, own)
        return reader
    return Reader(store, home, TakeIn(store, home, load_config(settings.config)))
