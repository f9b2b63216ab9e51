"""What becomes of producers that end: their spools are adopted, sealed, and removed.

A spool whose lock is free belongs to a dead producer. Order, safe against a crash between any two steps, because
each step is done again from what the disk says:

1. its events from the next expected number on go into the journal, like any batch, and become durable;
2. the seal (how many events, how it ended) goes into the journal; from then on nothing more is taken from it;
3. once the seal is in the run's file, checkpointed, the spool is deleted and its directory synced;
4. once no journal record of the producer is left, its row goes.

A producer that keeps its events in memory has no spool: its end is known by its last record or by its process.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from logferry import leftovers, spool
from logferry.events import INFO, WARNING, level_name
from logferry.killpoints import passed
from logferry_agent.agent_events import AgentEvents
from logferry_agent.exits import Exits
from logferry_agent.fs import Problem, said
from logferry_agent.journal import Journal
from logferry_agent.ledger import SEAL
from logferry_agent.problems import Problems
from logferry_agent.processes import is_running
from logferry_agent.producers import Producer, Producers, Refused, Run
from logferry_agent.receiver import QUEUE_BYTES
from logferry_agent.seal import ending, seal_fields, speaks_for_itself
from logferry_agent.spools import look, read_about, stamp

_log = logging.getLogger(__name__)
# A death is to be noticed within a second.
SCAN_S = 0.4
# A living process may have let go of its spool (its run was finished, it executed another program): every so many
# looks locks of the living are tried too, where there are many of them a share at a time.
_LOOKS_PER_TRIAL, _LOCKS_PER_TRIAL = 12, 192
_SLICE_BYTES = 1 << 20
# No descriptors, no memory, no threads say nothing of a spool: taken for damage, its events would go with it.
_NO_DAMAGE = (OSError, MemoryError, RuntimeError)
_LOOKS_PER_RETRY = 5
# Each adoption in progress holds a segment of a spool in memory.
_AT_ONCE = 4
_STEP_S = 0.02
# A process lets go of its lock a moment before it is gone; half a second is a hundred of those.
_EXIT_STEPS = 25


class Adoption:
    """Looks after the spool directory.

    Args:
        root: NODE/spool.
        producers: who is known.
        journal: where events and seals go.
        events: the agent's own events.
        full: whether a run's events are refused for now.
        settled_before: journal position before which everything is in the runs' files, checkpointed.
        reachable: whether a producer's connection is there.
        exits: how processes ended.
        clock_ns: the wall clock.
        executor: for file I/O in the node directory.

    """

    def __init__(
        self,
        root: Path,
        producers: Producers,
        journal: Journal,
        events: AgentEvents,
        full: Callable[[Run], bool],
        settled_before: Callable[[], int],
        reachable: Callable[[Producer], bool],
        exits: Exits,
        clock_ns: Callable[[], int],
        executor: Executor,
    ) -> None:
        self._root, self._producers, self._journal, self._events = root, producers, journal, events
        self._full, self._settled_before, self._reachable = full, settled_before, reachable
        self._exits, self._clock_ns, self._executor = exits, clock_ns, executor
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sealed: dict[str, Path] = {}
        self._missed: set[str] = set()
        self._problems = Problems(clock_ns)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._looking = asyncio.Lock()
        self._looks = 0
        self._stamp: int | None = None  # of the directory, where a look found nothing to do

    @property
    def under_way(self) -> int:
        return len(self._tasks)

    def held(self) -> list[Problem]:
        """Return the spools that are not adopted or removed, each with the reason."""
        return self._problems.values()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except _NO_DAMAGE as error:
                    self._hold(self._root, error)
                await asyncio.sleep(SCAN_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def look(self, *, tries_all: bool = False) -> None:
        """Begin what is due: adoptions, removals, retirements. One look at a time: what one begins, the next leaves."""
        async with self._looking:
            await self._look_once(tries_all)

    async def _look_once(self, tries_all: bool) -> None:
        self._looks += 1
        trial, since_trial = divmod(self._looks, _LOOKS_PER_TRIAL)
        if since_trial and not tries_all and self._is_still():
            return
        # Whose locks need not be tried: trying a thousand of them is work, and they live.
        certain = self._exits.living() - self._producers.ending
        spared = set() if tries_all else certain if since_trial else certain - _in_turn(certain, trial)
        busy, known = self._tasks.keys() | self._sealed.keys(), self._producers.names()
        # What is held back is tried again every two seconds.
        retries = tries_all or self._looks % _LOOKS_PER_RETRY == 0
        held = set() if retries else {path.name for path in self._problems.paths()}
        seen = await self._call(look, self._root, busy | held | spared, known)
        self._stamp = seen.stamp if seen.names <= certain else None
        if self._problems.paths():
            self._problems.keep({self._root / name for name in seen.names | self._sealed.keys()}, "spool")
        for name, about in seen.living:
            self._introduce(name, about)
        for one in filter(None, map(self._producers.get, self._producers.unsealed - self._exits.living())):
            self._exits.watch(one.id, one.about)
        for path, error in seen.failed:
            self._hold(path, error)
        for path, reason in seen.unreadable:
            await self._set_aside(path, reason)
        for path in seen.dead:
            self._tasks[path.name] = asyncio.create_task(self._adopt(path))
        self._seal_without_spool(known - busy - seen.names)
        await self.remove_sealed()
        self._retire()

    def _is_still(self) -> bool:
        """Say whether a look would find what the last one did: no name came or went, and all who were there live."""
        if self._stamp is None or self._tasks or self._sealed or self._producers.ending:
            return False
        if not self._exits.all_live(self._producers.unsealed, self._producers.added):
            return False
        return stamp(self._root) == self._stamp

    async def finish(self) -> None:
        """Adopt everybody who is dead now, to the end."""
        await self.look(tries_all=True)
        await _until(lambda: not self._tasks)

    # adoption of one spool

    async def _adopt(self, path: Path) -> None:
        try:
            async with self._slots:
                lock = await self._call(spool.take_lock, path)
                if lock is not None:
                    try:
                        await self._adopt_locked(path)
                    finally:
                        os.close(lock)
        except _NO_DAMAGE as error:
            self._hold(path, error)
        except Exception as error:  # whatever is in this spool, the others go on
            _log.exception("cannot adopt %s", path)
            await self._set_aside(path, f"{type(error).__name__}: {error}")
        finally:
            self._tasks.pop(path.name, None)

    async def _adopt_locked(self, path: Path) -> None:
        passed("adopt.locked")
        later = await self._call(spool.later_version, path)
        if later is not None:
            self._hold(path, f"written by a later logferry ({later.detail}): upgrade the agent", later.path)
            return
        if self._producers.get(path.name) is None:
            about = await self._call(read_about, path)
            if isinstance(about, spool.SpoolDamage):
                await self._set_aside(path, f"{about.reason}: {about.detail}")
                return
            if (refused := self._introduce(path.name, about)) is not None:
                await self._set_aside(path, refused)
                return
        one = self._producers.get(path.name)
        if one is not None and not one.sealed:
            head = await self._call(spool.read_head, path)
            self._producers.adopt(one, head.acked_through)
            if not await self._take_in(one, path):
                return
            passed("adopt.durable")
            await self._until_exit(one)
            self._seal(one, {level_name(level): count for level, count in head.shed.items()})
            passed("adopt.sealed")
        self._sealed[path.name] = path
        self._problems.release(path)

    async def _take_in(self, one: Producer, path: Path) -> bool:
        """Journal what is left in the spool; False where the run takes no more for now, and a later look goes on."""
        found = leftovers.read_dead(path, one.next - 1, _SLICE_BYTES)
        last = one.durable
        while (item := await self._call(next, found, None)) is not None:
            if isinstance(item, leftovers.Slice):
                if self._full(one.run):
                    return False
                await _until(lambda: self._journal.queued_bytes < QUEUE_BYTES)
                taken = self._producers.take(one, item.first, item.events, item.payload)
                self._journal.append([taken.entry])
                passed("adopt.taken")
                last = item.first + item.events - 1
            else:
                self._mark(one, item)
        await _until(lambda: one.durable >= last)
        return True

    def _mark(self, one: Producer, hole: leftovers.Hole) -> None:
        """Say what is lost where it is lost, and keep the bytes; of a torn last call nothing is."""
        if hole.data:
            self._journal.quarantine.keep(f"spool-{one.id}-{hole.first}", hole.data)
        if hole.reason == "torn":
            return
        fields = {"producer": one.id, "cause": hole.reason, "first": hole.first, "lost": hole.events}
        self._events.append(one.id, [self._clock_ns(), WARNING, "logferry.gap", None, fields])
        one.next = max(one.next, hole.first + (hole.events or 0))

    async def _until_exit(self, one: Producer) -> None:
        """Give a process whose lock is free, and that said nothing of its end, the moment until it is gone."""
        if not speaks_for_itself(one.end):
            for _ in range(_EXIT_STEPS):
                if not self._exits.runs_on(one.about):
                    return
                await asyncio.sleep(_STEP_S)

    def _seal(self, one: Producer, shed: dict[str, int], how: str = "vanished") -> None:
        seen = {} if speaks_for_itself(one.end) else self._exits.how(one.about)
        fields = seal_fields(one, shed, ending(one.end, seen, how))
        self._events.append(one.id, [self._clock_ns(), INFO, SEAL, None, fields])
        self._producers.lost_connection(one)
        self._exits.forget(one.id, one.about)
        self._producers.seal(one)
        _log.info("%s ended (%s) after %d events", one.id, fields["end"], one.next - 1)

    # without a spool

    def _seal_without_spool(self, names: set[str]) -> None:
        """Seal who ended and has no spool: events in memory only, or a directory that somebody removed."""
        for one in filter(None, map(self._producers.get, names)):
            if not one.sealed and one.durable >= one.next - 1 and (one.end or self._is_gone(one)):
                # What it had not shipped went with its memory, or with the spool that somebody removed.
                self._seal(one, {}, "lost")

    def _is_gone(self, one: Producer) -> bool:
        """Say whether the process is gone: twice in a row, since its last frames may still be on their way."""
        if is_running(one.about) or self._reachable(one):
            self._missed.discard(one.id)
            return False
        missed_before = one.id in self._missed
        self._missed.add(one.id)
        return missed_before

    # afterwards

    async def remove_sealed(self) -> None:
        """Delete the spools whose seals are in their runs' files, checkpointed."""
        for name, path in list(self._sealed.items()):
            one = self._producers.get(name)
            if one is None or not self._is_settled(one):
                continue
            passed("adopt.settled")
            try:
                await self._call(spool.remove, path)
            except OSError as error:
                self._hold(path, error)
                continue
            self._problems.release(path)
            one.spool_gone = True
            self._sealed.pop(name, None)  # a drain and a look may both have removed it

    def _is_settled(self, one: Producer) -> bool:
        row = self._journal.ledger.rows.get(one.id)
        durable = row is not None and row.sealed
        return durable and (one.settled or (row is not None and row.last < self._settled_before()))

    def _retire(self) -> None:
        oldest = self._journal.oldest
        for one in self._producers.sealed():
            row = self._journal.ledger.rows.get(one.id)
            if row is not None and row.last < oldest and self._has_no_spool(one):
                self._journal.forget(one.id)
                self._producers.retire(one)
                passed("adopt.retired")
                self._missed.discard(one.id)

    def _has_no_spool(self, one: Producer) -> bool:
        return one.spool_gone or one.in_memory or (one.id not in self._sealed and not (self._root / one.id).exists())

    def _introduce(self, name: str, about: dict[str, Any]) -> str | None:
        """Make a producer known by its spool; return why that is refused."""
        entry = self._producers.introduce(name, about)
        if isinstance(entry, Refused):
            return entry.detail
        if entry is not None:
            self._journal.append([entry])
        return None

    def _hold(self, path: Path, error: Exception | str, file: Path | None = None) -> None:
        """Leave a spool as it is until that works; say so the first time."""
        text = error if isinstance(error, str) else said(error)
        if self._problems.hold(path, "spool", text, file):
            _log.warning("%s is held back, and tried again: %s", file or path, text)

    async def _set_aside(self, path: Path, reason: str) -> None:
        target = path.with_name(f".bad-{path.name}")
        try:
            await self._call(os.rename, path, target)
        except OSError as error:
            self._hold(path, f"it is damaged ({reason}) and cannot be renamed to {target.name}: {said(error)}")
        else:
            _log.error("the spool %s cannot be read (%s) and is kept as %s", path, reason, target.name)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def _in_turn(names: set[str], trial: int) -> set[str]:
    """Return the share of the names whose turn it is; while there are about as many, each has its turn."""
    shares = 1 + len(names) // _LOCKS_PER_TRIAL
    return {name for name in names if (hash(name) + trial) % shares == 0}


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what other parts bring about, and need not announce to each spool."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(_STEP_S)
