"""`Run`: one execution of an experiment as one process sees it, a logger that also has a result and an end.

`session.init` makes runs. A forked child shares the object and gets a producer of its own at its first log call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from logferry import identity
from logferry.diagnostics import complain
from logferry.document import Document, first_document, own_producers, working_directory
from logferry.ending import verdict
from logferry.environment import collect
from logferry.events import INFO
from logferry.hot import FULL, Hot
from logferry.interruption import let_through
from logferry.killpoints import passed
from logferry.layout import Home, NodeDir
from logferry.lock import Lock, held
from logferry.logger import Logger
from logferry.producer import Membership, Producer
from logferry.results import COMPLETED, FAILED, FINAL
from logferry.settings import Settings

# `finish` takes no longer, whatever is broken; the agent does the rest.
FINISH_S = 2.0
_CLAIM_S = 2.0


class Delivery(NamedTuple):
    """How far a run's events of this process have come; cumulative counts.

    `emitted` were taken, of which `spooled` survive this process, `durable` are synced in the agent's journal and
    `written` are synced in the run's file. `shed` were refused because the spool was full.
    """

    emitted: int = 0
    durable: int = 0
    written: int = 0
    spooled: int = 0
    shed: int = 0


class Hooks(NamedTuple):
    """What the session does when a run ends, and when a child process takes part in one."""

    ended: Callable[[Run], None]
    joined: Callable[[], None]


class Run(Logger):
    """One run, as one process sees it. Made by `init`; leaving its block finishes it.

    Args:
        member: what is constant for the run.
        settings: where the directories are.
        given: what the user passed to `init`.
        clock: nanoseconds since the epoch.
        random_bytes: source of producer ids.
        hooks: who is told of the end, and of a child that takes part.

    """

    __slots__ = (
        "_began_in",
        "_began_s",
        "_clock",
        "_document",
        "_finished",
        "_hooks",
        "_lock",
        "_member",
        "_pid",
        "_producer",
        "_random_bytes",
        "_settings",
    )

    def __init__(
        self,
        member: Membership,
        settings: Settings,
        given: Mapping[str, Any],
        clock: Callable[[], int],
        random_bytes: identity.RandomBytes,
        hooks: Hooks,
    ) -> None:
        hot = Hot()
        hot.clock, hot.level = clock, member.level
        super().__init__(hot, {})
        self._member, self._settings = member, settings
        self._clock, self._random_bytes, self._hooks = clock, random_bytes, hooks
        self._finished, self._pid, self._began_in = False, os.getpid(), os.getpid()
        self._began_s = monotonic()  # how long it takes is not a question to a clock that may be set
        self._lock = Lock()
        self._producer: Producer | None = None
        first = first_document(
            member.experiment_id, member.run_id, host=member.host, started_ns=member.started_ns, given=given
        )
        producer = self._open_producer(owner=member.rank in {None, 0})
        node = NodeDir(settings.node_dir)
        self._document = Document(Home(member.home), node, producer.name, member.rank, first, late=member.inherited)
        self._begin(producer)

    def _begin(self, producer: Producer) -> None:
        claimed = producer.shipper.submit(self._document.claim)
        self.info("ExperimentStarted", experiment_id=self.experiment_id)
        config = self._document.snapshot().get("config")
        if config:
            self.at(INFO, "ConfigLoaded", None, config)
        claimed.wait(_CLAIM_S)
        if self._document.owner is not False:
            # Before anything else can go wrong: with this record the agent can say KILLED though the file is missing.
            producer.result(self._clock(), self._document.snapshot())
        passed("run.begun")
        producer.shipper.submit(self._describe)

    def _describe(self) -> None:
        self._document.add_environment(collect(os.environ, working_directory()))
        if self._document.owner:
            self._document.save()

    @property
    def experiment_id(self) -> str:
        return self._member.experiment_id

    @property
    def run_id(self) -> str:
        return self._member.run_id

    def result(self, metrics: Mapping[str, Any]) -> None:
        """Merge metrics into the run's result document. Never raises; the file follows within a moment."""
        try:
            with held(self._lock):
                producer = self._joined()
                if producer is None:
                    complain("finished result", "a result came after its run was finished; it is not kept")
                    return
                document = self._document_here(producer)
                producer.result(self._clock(), document.merge(metrics, self._clock()))
                passed("result.spooled")
                producer.shipper.submit(document.save)
        except Exception as error:  # a log call never raises into the job
            let_through(error)
            complain("result", f"a result could not be kept ({type(error).__name__}: {error})")

    def flush(self, until: str = "durable", timeout: float = 5.0) -> Delivery:
        """Wait until all that this process logged is `"spooled"`, `"durable"` or `"written"`, or `timeout` s passed.

        Never raises; the counts say how far it came.
        """
        producer = self._producer
        if producer is None or self._finished or self._pid != os.getpid():
            return Delivery()
        try:
            if until not in {"spooled", "durable", "written"}:
                complain("flush", f"flush(until={until!r}): expected 'spooled', 'durable' or 'written'")
            elif until != "spooled":
                producer.shipper.flush(until == "written", timeout)
            return Delivery(**producer.counts())
        except Exception as error:  # no number of seconds, or the run is finished by another thread meanwhile
            let_through(error)
            complain("flush", f"flush({until!r}, {timeout!r}): {type(error).__name__}: {error}")
            return Delivery()

    def finish(self, status: str | None = None) -> None:
        """End the run: `"COMPLETED"` unless another status is given. Within 2 s; the agent does what is left."""
        if status is not None and status not in FINAL:
            complain("finish", f"finish({status!r}): expected one of {', '.join(FINAL)}")
            status = FAILED
        self.end(status or COMPLETED, None)

    def end(self, status: str, how: dict[str, Any] | None) -> None:
        """End this process's part in the run, and the run where it began here."""
        self._end({"status": status, "exit": how}, leaving=False)

    def leave(self, status: str, how: dict[str, Any] | None, *, implied: bool) -> None:
        """End as `end` does, because the process ends: what still logs until it is gone is kept too.

        `implied`: nothing bad was seen; the exit status of the process may know better.
        """
        self._end({"status": status, "exit": how} | ({"implied": True} if implied else {}), leaving=True)

    def _end(self, end: dict[str, Any], *, leaving: bool) -> None:
        with held(self._lock):
            if self._finished:
                return
            self._finished = True  # a signal that ends the process now must not finish the run once more
            try:
                if self._pid == os.getpid() and self._producer is not None:
                    self._end_producer(self._producer, end, leaving=leaving)
            finally:
                self._hooks.ended(self)

    def _end_producer(self, producer: Producer, end: dict[str, Any], *, leaving: bool) -> None:
        deadline = monotonic() + FINISH_S
        if self._began_in == self._pid:  # a forked child only has a part in its parent's run
            self._complete(producer, end["status"], end["exit"], deadline)
        producer.put_end(self._clock(), end)
        if leaving and producer.leave(deadline):
            return
        producer.close(deadline)
        own_producers.discard(producer.name)

    def _complete(self, producer: Producer, status: str, how: dict[str, Any] | None, deadline: float) -> None:
        if how and "traceback" in how:
            self.error("ExperimentFailed", how.get("exception"), traceback=how["traceback"])
        self.info("ExperimentCompleted", experiment_id=self.experiment_id, status=status)
        passed("finish.said")
        now = self._clock()
        final = self._document.finish(status, how, monotonic() - self._began_s, now)
        producer.result(now, final)
        passed("finish.spooled")
        producer.shipper.submit(self._document.save).wait(max(0.0, deadline - monotonic() - 0.2))
        passed("finish.saved")

    # --- processes ---

    def _open_producer(self, *, owner: bool) -> Producer:
        name = identity.short_id(self._random_bytes)
        own_producers.add(name)
        self._producer = producer = Producer(name, self._member, self._settings, self._hot, owner=owner)
        self._pid = os.getpid()
        return producer

    def forked(self) -> None:
        """Leave the parent's spool alone; the first log call of this child opens its own."""
        _inherited.append(self._producer)
        own_producers.clear()
        self._producer, self._lock, self._finished = None, Lock(), False
        self._hot.threshold, self._hot.busy = FULL, False
        self._hot.admit, self._hot.append = self._admit_in_child, self._append_in_child
        self._hot.write = _refuse

    def _joined(self) -> Producer | None:
        """Return this process's producer, opened where a forked child needs its own."""
        with held(self._lock):
            if self._producer is None and not self._finished:
                self._random_bytes = os.urandom  # a seeded source would give every child the same names
                passed("child.joining")
                self._open_producer(owner=False)
                passed("child.joined")
                self._hooks.joined()
            return None if self._finished else self._producer

    def _admit_in_child(self, level: int) -> bool:
        try:
            if self._joined() is None:
                return False
        except Exception as error:  # no descriptors left, say; a log call never raises into the job
            let_through(error)
            complain("child", f"a child process cannot log ({type(error).__name__}: {error})")
            return False
        return level >= self._hot.threshold or self._hot.admit(level)

    def _append_in_child(self, level: int, record: bytes) -> None:
        if self._joined() is not None:
            self._hot.append(level, record)

    def _document_here(self, producer: Producer) -> Document:
        if self._document.pid != os.getpid():
            self._document = self._document.part_of(producer.name)
        return self._document

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(*verdict(error))


# What belongs to a parent process stays referenced: collecting it would close its sockets and locks.
_inherited: list[Any] = []


def _refuse(_: bytes) -> None:
    raise ValueError("this process has no spool yet")
