"""Results in an order, read from the store when they are asked for; and the one run that a text means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from logferry_collector.doubts import doubts
from logferry_collector.export import differences, flat, to_csv
from logferry_collector.frames import pandas_frame, polars_frame, write_parquet
from logferry_collector.group import Groups, grouped
from logferry_collector.names import Names
from logferry_collector.store import Store
from logferry_collector.where import And, Expression, Is, Key, Literal, OneOf, Query, WhereError

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
        return self._store.count(self._query)

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
            agg: of `n mean std min max median ci95`; `std` is the sample standard deviation, `ci95` half the width of
                the mean's 95 % confidence interval.
            metrics: which; all of them by default.

        Raises:
            WhereError: there is no such key.

        """
        keys = [self.names.resolve(name) for name in ([by] if isinstance(by, str) else by)]
        inner = self._over(over, keys)
        asked = [self.names.resolve(name) for name in metrics] if metrics is not None else self._metrics()
        wanted = [key for key in asked if key not in keys]  # it is the same in all of a group
        rows = self._store.means(self._query, keys, inner, wanted)
        return grouped(rows, keys, wanted, [agg] if isinstance(agg, str) else agg, self.names.resolve)

    def diff(self, *run_ids: str) -> dict[str, dict[str, Any]]:
        """Return the keys in which some of these runs differ, each with the value of every run that has it.

        Maps are taken apart into dotted keys. Without ids: these results.

        Raises:
            UnknownRunError: no run, or more than one, is meant by an id.

        """
        if run_ids:
            ids = {run: only_run(self._store, run) for run in run_ids}
            return differences({run: document_of(self._store, self._query, *ids[run]) for run in run_ids})
        documents = list(self)
        names = Counter(document["run_id"] for document in documents)
        return differences(
            {
                one["run_id"] if names[one["run_id"]] == 1 else f"{one['experiment_id']}/{one['run_id']}": one
                for one in documents
            }
        )

    def but(self, condition: Expression) -> Results:
        """Return those of these results for which a condition holds too."""
        return Results(self._store, replace(self._query, where=And((self._query.where, condition))), self.names)

    def best(self, metric: str, by: str | Sequence[str] = (), *, lowest: bool = False) -> Results:
        """Return the best of these results, or the best of each group.

        Args:
            metric: what is compared; a result without it, or with NaN there, is not the best.
            by: the keys that make a group.
            lowest: the least value is the best; else the greatest.

        Raises:
            WhereError: there is no such key.

        """
        key = self.names.resolve(metric)
        groups = tuple(self.names.resolve(name) for name in ([by] if isinstance(by, str) else by))
        where = And((self._query.where, Is(key, "null", negated=True), Is(key, "nan", negated=True)))
        query = replace(self._query, where=where, sort=key, desc=not lowest, first_of=groups)
        return Results(self._store, query, self.names)

    def values(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Return some values of each result; None where one has none.

        Raises:
            WhereError: there is no such key.

        """
        return self._store.values(self._query, [self.names.resolve(name) for name in names])

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat row per result, as frames and files have them."""
        return [flat(document) for document in self]

    def to_pandas(self) -> Any:
        """Return a DataFrame with a column per key; needs pandas."""
        return pandas_frame(self.rows())

    def to_polars(self) -> Any:
        """Return a DataFrame of polars; needs polars and pyarrow."""
        return polars_frame(self.rows())

    def to_csv(self, path: str | Path) -> None:
        to_csv(map(flat, self), path)

    def to_parquet(self, path: str | Path) -> None:
        """Write a Parquet file; needs pyarrow."""
        write_parquet(map(flat, self), None, Path(path))

    def unsortable(self) -> tuple[int, int]:
        """Return how many of these results have nothing, and how many NaN, where they are sorted by: they are last."""
        key = self._query.sort
        if key is None:
            return 0, 0
        asked = replace(self._query, sort=None, limit=None)
        queries = [replace(asked, where=And((asked.where, Is(key, what)))) for what in ("null", "nan")]
        missing, not_numbers = (sum(1 for _ in self._store.values(query, [RUN_ID])) for query in queries)
        return missing, not_numbers

    def doubts(self, *, nothing_found: bool) -> list[str]:
        """Return what to say of values in the condition that no result has."""
        return doubts(self._store, self._query, nothing_found=nothing_found)

    def _metrics(self) -> list[Key]:
        return [key for key in self.names.known if key.section == "metrics"]

    def _over(self, over: str | None, keys: list[Key]) -> Key | None:
        if over is None:
            return None
        try:
            key = self.names.resolve(over)
        except WhereError:
            if over == "seed":  # the default is an offer, not a demand
                return None
            raise
        return None if key in keys else key


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
