"""One pass over a home's results without a service: for `--once`, and for whoever asks while no collector runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from logferry.layout import Home
from logferry_collector.config import CollectorConfig
from logferry_collector.consolidate import Consolidator
from logferry_collector.discover import Discover
from logferry_collector.formats import Reading, format_of
from logferry_collector.records import Fault
from logferry_collector.store import Store


class TakeIn:
    """Scans a home and takes in what is new, each time it is called."""

    def __init__(
        self, store: Store, home: Home, config: CollectorConfig, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.discover = Discover([str(home.results)], store.stamps(), clock_ns)
        self.discover.forget(_readable_now(store, config.reading))
        self.consolidator = Consolidator(
            store,
            self.discover,
            settle_s=config.settle_s,
            batch_files=config.batch_files,
            clock_ns=clock_ns,
            reading=config.reading,
        )

    def __call__(self) -> int:
        """Return how many changes were taken in.

        Raises:
            StoreDownError: the store cannot be written now.

        """
        taken = self.consolidator.take(self.discover.scan(full=True))
        self.consolidator.forget_void_rejects()
        return taken


def _readable_now(store: Store, reading: Reading) -> list[str]:
    """Return the files that were refused for a package or a permission which is there now."""
    refused = [path for path, reject in store.rejects() if reject.fault is Fault.UNAVAILABLE]
    return [path for path in refused if (form := format_of(path)) is None or not form.missing(reading)]
