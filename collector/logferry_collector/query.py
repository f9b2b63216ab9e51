"""The read side: the one thing that the command line, the Python interface and the page call.

    with logferry.open_store() as store:
        for document in store.results("status = COMPLETED and metrics.test_accuracy > 0.9", sort="test_accuracy"):
            ...

What is read is taken in first where no collector runs for the home, so that an answer is never older than the question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from logferry.layout import Home, clock_lead_s
from logferry.settings import Settings, load
from logferry_collector import running
from logferry_collector.add import add
from logferry_collector.config import CollectorConfig, load_config
from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.records import Reject
from logferry_collector.results import Results, document_of, only_run
from logferry_collector.silence import SILENT_NS, silent_hosts
from logferry_collector.store import Store, StoreDownError, StoreRefusedError, open_url, url_of
from logferry_collector.takein import TakeIn
from logferry_collector.where import Query


class Reader:
    """An open results store.

    Args:
        store: an open one; closed with this.
        home: whose results the store is of, for what fell silent and for files that are not in yet.
        take_in: called before each question; None where a collector does that.
        clock_ns: the time of day.
        config: how results are read; None where the store is not the home's own, and is only read.

    """

    def __init__(
        self,
        store: Store,
        home: Home,
        take_in: Callable[[], object] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        config: CollectorConfig | None = None,
    ) -> None:
        self.store, self.home, self._config = store, home, config
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
        return Results(self.store, replace(query, where=condition, sort=key, desc=desc, limit=limit), names)

    def add(self, frame: Any, experiment: str | None = None, name: str | None = None) -> int:
        """Add the rows of a frame (pandas, polars, pyarrow) or of a list of mappings as results; return how many.

        They are written to `results/<experiment>/<name>.jsonl` and taken in from there; what that file held before is
        replaced. Columns go where docs/results.md says.

        Args:
            frame: the rows.
            experiment: of those that name none themselves.
            name: of the file, and of rows without a `run_id`; by default made from what is in the rows.

        Raises:
            AddError: a row is no result; nothing was added.
            StoreError: the store cannot be written now, or is not the home's own.

        """
        if self._config is None:
            raise StoreRefusedError(f"store {self.store.url} is not the one of {self.home.path}, and is only read")
        return add(self.store, self.home, self._config, frame, experiment, name)

    def run(self, text: str) -> dict[str, Any]:
        """Return the result of the one run whose id is, begins or ends with a text; or `experiment/run`.

        Raises:
            UnknownRunError: no run, or more than one.

        """
        return self.runs([text])[0]

    def runs(self, texts: Iterable[str]) -> list[dict[str, Any]]:
        """Return the result of each run that one of some texts means; see `run`.

        Raises:
            UnknownRunError: a text means no run, or more than one.

        """
        query = self._fresh_query()
        return [document_of(self.store, query, *only_run(self.store, text)) for text in texts]

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
        now_ns, hosts = self._clock_ns(), self.store.running_hosts()
        # The files' own clock, from which the reader's may differ by hours; who may only read has to go by the latter.
        with suppress(OSError):
            now_ns += int(clock_lead_s(self.home.agents) * 1e9) if hosts else 0
        lost = silent_hosts(self.home.agents, hosts, now_ns)
        return Query(lost_hosts=lost, lost_before_ns=now_ns - SILENT_NS)

    def refresh(self) -> None:
        """Take in what is new, where no collector does that."""
        if self._take_in is not None:
            try:
                self._take_in()
                self.stale = ""
            except (StoreDownError, StoreRefusedError) as error:  # what is in there can be read all the same
                self.stale = str(error)


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
    config = load_config(settings.config)
    if running.runs(home, own):
        reader = Reader(store, home, config=config)
        reader.stale = running.held(home, own)
        return reader
    return Reader(store, home, TakeIn(store, home, config), config=config)
