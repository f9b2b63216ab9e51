"""What came of taking files in, as far as whoever asked for it wants to be told."""

from __future__ import annotations

from collections import Counter

from logferry_collector.records import Record, Role

# Nobody reads more names, and a collector may run for years.
_MAX_NAMED = 1000
# A row with one of these is often one of many of a run, and not a result.
_STEPS = frozenset({"epoch", "step", "global_step", "iteration"})


class Account:
    """Counts rows that were committed: in all, by experiment, and by file those that may be none.

    Args:
        names: whether rows of different files that have one name are counted, for which each name is kept.

    """

    def __init__(self, *, names: bool = False) -> None:
        self._files: dict[tuple[str, str], str] | None = {} if names else None
        self.hiding: Counter[tuple[str, str]] = Counter()  # by the files that share names
        self.rows = 0
        self.experiments: Counter[str] = Counter()
        self.without_metrics: Counter[str] = Counter()
        self.stepwise: Counter[str] = Counter()

    def add(self, records: list[Record], path: str) -> None:
        self.rows += len(records)
        results = [record for record in records if record.role is Role.RESULT]
        # One that failed may have none.
        bare = sum("metrics" not in record.document and "status" not in record.document for record in results)
        steps = sum(not _STEPS.isdisjoint(record.document) for record in results) if len(results) > 1 else 0
        _count(self.without_metrics, path, bare)
        _count(self.stepwise, path, steps)
        if self._files is not None:
            for record in results:
                other = self._files.setdefault((record.experiment_id, record.run_id), path)
                if other != path:
                    self.hiding[other, path] += 1
        for experiment_id, count in Counter(record.experiment_id for record in results).items():
            _count(self.experiments, experiment_id, count)


def _count(into: Counter[str], name: str, count: int) -> None:
    if count and (name in into or len(into) < _MAX_NAMED):
        into[name] += count
