"""This process's share of the run's result: who owns the document, what it says, and its file.

A document is changed in memory first, put into the spool as an event next, and written to its file last: whichever
step a process dies after, the agent finds enough in the spool to finish. Files are only touched on the shipper thread,
so that a file system that hangs never holds up the job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from logferry import results, spool
from logferry.diagnostics import complain
from logferry.events import plain
from logferry.killpoints import passed
from logferry.layout import Home, NodeDir, clock_lead_s
from logferry.lock import Lock, held

_SILENT_HOST_S = 300.0
# Taking over is a matter of milliseconds, on a network file system of seconds.
_MARK_S = 60.0
# Producers of this process: their locks look free from inside (a process cannot conflict with itself).
own_producers: set[str] = set()


class Document:
    """The result document of a run as one producer sees it.

    Args:
        home: where results are.
        node: where the spools of this host are, to see whether an owner lives.
        producer: the producer's id.
        rank: the process's rank where ranks are known; then rank 0 owns the document and no other.
        first: the document as it is at the start, status `RUNNING`.
        late: this process was started in the run, and is no new attempt: one that is over is left to the owner who said
            so, and the file is made by whoever began the run, when there is room for it.

    """

    def __init__(
        self, home: Home, node: NodeDir, producer: str, rank: int | None, first: dict[str, Any], *, late: bool = False
    ) -> None:
        self._home, self._node, self._producer, self._rank, self._late = home, node, producer, rank, late
        self._lock = Lock()
        self.pid = os.getpid()
        self._data = {**first, "owner": producer, "attempt": 1, "revision": 1}
        self._saved = 0
        self.owner: bool | None = None if rank in {None, 0} else False
        self._path = home.result(first["experiment_id"], first["run_id"])

    def part_of(self, producer: str) -> Document:
        """Return the share of a forked child, which never owns the document."""
        part = Document(self._home, self._node, producer, self._rank, {**self._data, "metrics": {}})
        part.owner = False
        return part

    def snapshot(self) -> dict[str, Any]:
        """Return what this process has to say now: the whole document, or its part where another one owns it."""
        with held(self._lock):
            if self.owner is not False:
                return dict(self._data)
            part = {key: self._data[key] for key in ("experiment_id", "run_id", "timestamp", "metrics", "revision")}
            return {**part, "producer": self._producer, "rank": self._rank}

    def merge(self, metrics: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
        """Merge metrics into the document; return the snapshot."""
        with held(self._lock):
            self._data["metrics"] = {**self._data["metrics"], **_plain_map(metrics)}
            self._touch(now_ns)
            return self.snapshot()

    def finish(self, status: str, end: dict[str, Any] | None, duration_s: float, now_ns: int) -> dict[str, Any]:
        """Complete the document; return the snapshot."""
        with held(self._lock):
            self._data.update(status=status, exit=plain(end)[0], duration_s=round(duration_s, 6))
            self._touch(now_ns)
            return self.snapshot()

    def add_environment(self, environment: dict[str, Any]) -> None:
        with held(self._lock):
            # Arguments and paths may hold bytes that are no text.
            self._data["environment"] = plain(environment)[0]
            self._data["revision"] += 1

    def _touch(self, now_ns: int) -> None:
        self._data["timestamp"] = stamp(now_ns)
        self._data["revision"] += 1

    # --- on the shipper thread ---

    def claim(self) -> None:
        """Create the run's file, or take it over from a dead owner, or leave it to its owner."""
        if self.owner is not None:
            return
        try:
            if self._late and not self._path.exists():
                self.owner = False
            elif results.create(self._path, self.snapshot()):
                self.owner, self._saved = True, 1
            else:
                self._claim_existing()
        except (OSError, results.ResultError) as error:
            complain("results", f"the result file is delayed: {error}")

    def _claim_existing(self) -> None:
        found = results.read(self._path)
        if found.get("owner") == self._producer:
            self.owner = True
            return
        if self._lives(found):
            self.owner = False
            return
        attempt = first = _count(found, "attempt") + 1
        while not results.create(mark := self._mark(attempt), self._as_owner()):
            if self._is_taking_over(mark):
                self.owner = False
                return
            attempt += 1  # who wanted to take over died before it did
        passed("takeover.marked")
        try:
            # Whoever took over meanwhile has taken its mark away again: only the file tells.
            self.owner = _count(results.read(self._path), "attempt") < attempt
            if self.owner:
                self._take_over(found, attempt)
        finally:
            for passed_over in range(first, attempt + 1):
                with suppress(OSError):
                    self._mark(passed_over).unlink()

    def _mark(self, attempt: int) -> Path:
        return self._path.with_name(f".{self._path.stem[:100]}.attempt-{attempt}")

    def _as_owner(self) -> dict[str, Any]:
        return {"owner": self._producer, "host": self._data["host"], "status": results.RUNNING}

    def _is_taking_over(self, mark: Path) -> bool:
        """Say whether the process that left a mark may yet take over."""
        try:
            is_new = _age_s(mark) < _MARK_S
            return is_new and self._lives(results.read(mark))
        except FileNotFoundError:  # it has
            return True

    def _take_over(self, found: dict[str, Any], attempt: int) -> None:
        with held(self._lock):
            for field in ("metrics", "config"):
                self._data[field] = {**(found.get(field) or {}), **self._data[field]}
            self._data["attempt"] = attempt
            self._data["revision"] = _count(found, "revision") + self._data["revision"]
            document = dict(self._data)
        results.replace(self._path, document)
        self._saved = document["revision"]

    def _lives(self, found: dict[str, Any]) -> bool:
        """Say whether the run is its owner's still."""
        if found.get("status") in results.FINAL:
            return self._late
        owner, host = str(found.get("owner")), str(found.get("host"))
        if owner in own_producers:
            return True
        if host == self._data["host"] and "/" not in owner:
            return spool.lock_holder(self._node.spool / owner / "lock") is not None
        with suppress(OSError, ValueError):
            return _age_s(self._home.agents / host.replace("/", "_")) < _SILENT_HOST_S
        return False

    def save(self) -> None:
        """Write the newest version to its file unless that is done."""
        self.claim()
        document = self.snapshot()
        if self.owner is None or document["revision"] <= self._saved:
            return
        part = self._home.result_part(document["experiment_id"], document["run_id"], self._producer)
        if self.owner is False and not document["metrics"]:
            return
        try:
            results.replace(self._path if self.owner else part, document)
            self._saved = document["revision"]
        except OSError as error:
            complain("results", f"the result file is delayed, the agent will write it: {error}")


def first_document(
    experiment_id: str, run_id: str, *, host: str, started_ns: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a new document, status `RUNNING`; `given` has what the user passed to `init`."""
    return {
        "experiment_id": experiment_id,
        "run_id": run_id,
        "timestamp": stamp(started_ns),
        "status": results.RUNNING,
        "model": plain(given.get("model"))[0],
        "dataset": plain(given.get("dataset"))[0],
        "config": config_map(given.get("config")),
        "metrics": {},
        "notes": _text(given.get("notes")) or "",
        "group": _text(given.get("group")),
        "tags": [_text(tag) for tag in _listed(given.get("tags"))],
        "host": host,
        "started": stamp(started_ns),
        "duration_s": None,
        "exit": None,
        "environment": {},
    }


def config_map(config: Any) -> dict[str, Any]:
    """Return a configuration as a map: a mapping, a dataclass, or the attributes of a namespace."""
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        found = plain(config)[0]
        if isinstance(found, dict):
            return found
        config = getattr(config, "__dict__", None) or {"value": config}
    return _plain_map(config)


def _plain_map(values: Mapping[str, Any]) -> dict[str, Any]:
    found = plain(values)[0]
    return found if isinstance(found, dict) else {"value": found}


def _text(value: Any) -> str | None:
    found = plain(value)[0]
    return found if found is None else str(found)


def _listed(tags: Any) -> list[Any]:
    found = plain(tags)[0]
    return found if isinstance(found, list) else [] if found is None else [found]


def _age_s(path: Path) -> float:
    """Return how old a file of a home is by the clock that stamps it, from which this host's may differ by hours."""
    now_s, touched = time.time(), path.stat().st_mtime
    with suppress(OSError):  # who may only read has to go by his own clock
        now_s += clock_lead_s(path.parent)
    return now_s - touched


def _count(document: dict[str, Any], field: str) -> int:
    return int(document.get(field) or 1)


def stamp(time_ns: int) -> str:
    """Return a time as RFC 3339 in UTC, with microseconds where there are any."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).replace(microsecond=time_ns // 1000 % 1_000_000)
    return moment.isoformat().replace("+00:00", "Z")


def working_directory() -> Path:
    try:
        return Path(os.getcwd())
    except OSError:  # it was removed
        return Path("/")
