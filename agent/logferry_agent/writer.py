"""From the journal to the running logs: reads the journal forward once and gives every output its records.

Promises: every durable event is in its run's JSON-lines file once, in its producer's order, after any number of
crashes; an output that fails or hangs holds up only itself, keeps its place in the journal, and is tried again at
least every two seconds; the journal is trimmed only to what all outputs have checkpointed.

Parts: `Output` (one file), `Renderer` (records → bytes), `Commits` and `State` (checkpoints), `Upkeep` (final files,
compression, retention), `Settler` (results of runs whose producers ended).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from logferry.events import GAP, WARNING
from logferry.layout import Home
from logferry_agent.chunk import Renderer
from logferry_agent.commits import Commits
from logferry_agent.config import AgentConfig
from logferry_agent.filters import Filters
from logferry_agent.fs import FileSystem, Problem
from logferry_agent.output import Output, Safe
from logferry_agent.record_runs import Runs, concerned
from logferry_agent.salvage import salvage
from logferry_agent.segment import HELLO, Damage, Record
from logferry_agent.services import Memory, ReadableJournal
from logferry_agent.settle import Settler
from logferry_agent.state import Checkpoint, Key, State, Unsettled
from logferry_agent.upkeep import Upkeep

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_READ_BYTES = 4 << 20
# What all outputs may hold in memory, and each of them; beyond it they read the journal again.
_MEMORY_BYTES = 32 << 20
_OUTPUT_BYTES = 2 << 20
# How long reading waits for an output that is merely slow before that output is left to read by itself.
_PATIENCE_S = 0.5
_RETRY_S = 1.0
# A request for a checkpoint stays in force for so long, because the events that it is about may still be on their way.
_EAGER_S = 0.5
_EAGER_STEP_S = 0.01
# Calls that hang on a broken file system each take a thread; more of them do not make a disk faster.
_THREADS = 4


class Writer:
    """Composition of the output half.

    Args:
        journal: read up to `durable`, trimmed.
        about_of: what is constant for a producer, None if unknown.
        alive: whether a producer of (experiment, run) is not sealed yet.
        state: the checkpoints.
        fs: the file system of logs and journal.
        home: whose logs and results are written.
        host: this machine's name in file names.
        config: the agent's configuration.
        filters: level rules.
        clock: nanoseconds since the epoch.
        on_written: producer → number through which its lines are written and checkpointed.
        on_sealed: producers whose seal is checkpointed.
        append_agent_event: appends an event of the agent's own (producer whom it concerns,
            `[time_ns, level, name, message, fields]`).
        keep_bad: keeps bytes that cannot be decoded, under a name.

    """

    def __init__(
        self,
        *,
        journal: ReadableJournal,
        about_of: Callable[[str], dict[str, Any] | None],
        alive: Callable[[str, str], bool],
        state: State,
        fs: FileSystem,
        home: Home,
        host: str,
        config: AgentConfig,
        filters: Filters,
        clock: Callable[[], int],
        on_written: Callable[[dict[str, int]], None],
        on_sealed: Callable[[list[str]], None],
        append_agent_event: Callable[[str, list[Any]], None],
        keep_bad: Callable[[str, bytes], None],
    ) -> None:
        self.fs, self.logs, self.host, self.config, self.clock = fs, home.logs, host, config, clock
        self.renderer = Renderer(filters)
        self.memory = Memory()
        self.executor = ThreadPoolExecutor(_THREADS, "logferry-logs")
        self.keep_bad = keep_bad
        self.unknown_events = 0
        self._journal, self._state = journal, state
        self._on_written, self._on_sealed, self._append_agent_event = on_written, on_sealed, append_agent_event
        self._reader = ThreadPoolExecutor(1, "logferry-read")
        self._commits = Commits(state, self.least_position)
        self._outputs: dict[Key, Output] = {}
        self._runs = Runs(about_of)
        self._eager: dict[tuple[str, str], float] = {}
        self._position = 0
        # What an earlier life left in the journal, which is not appended to before this is built.
        self._replay_end = journal.durable
        # The journal knows of an earlier life and the database does not: the files say where they stand.
        self._is_salvaging = state.is_new and self._replay_end > 0
        self._state_problem: Problem | None = None
        self._moved, self._progress, self._asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._settler = Settler(state, home, alive, about_of, host, clock)
        self._upkeep = Upkeep(self, state, home, alive)

    async def run(self) -> None:
        """Write until cancelled."""
        self._position = max(
            await self._patiently(lambda: self._state.call(self._state.dispatched)), self._journal.oldest
        )
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._dispatch())
            self._group.create_task(self._checkpoints())
            self._group.create_task(self._upkeep.run())
            self._group.create_task(self._settler.run())

    def durable_moved(self) -> None:
        """Say that the journal has more."""
        self._moved.set()

    def checkpoint(self, experiment_id: str, run_id: str) -> None:
        """Ask for checkpoints of a run's files as soon as what is durable now is written."""
        self._eager[experiment_id, run_id] = asyncio.get_running_loop().time() + _EAGER_S
        self._asked.set()

    async def drain(self, deadline: float) -> str:
        """Write and checkpoint all that is durable, until `deadline` on the loop's clock; say what is left."""
        loop = asyncio.get_running_loop()
        while loop.time() < deadline:
            if self._position >= self._journal.durable and not self._unfinished():
                settled = await self._settler.settle_all()
                return "" if settled else f"results not settled: {self._settler.problem}"
            self._checkpoint_all()
            await asyncio.sleep(_EAGER_STEP_S)
        return self._left_over()

    def _unfinished(self) -> list[Output]:
        outputs = self._outputs.values()
        return [output for output in outputs if output.has_work or output.is_dirty or output.is_saving]

    def _left_over(self) -> str:
        files = [
            f"{output.path}: {output.held.error if output.held else 'not all written'}" for output in self._unfinished()
        ]
        if self._position < self._journal.durable:
            files.append("the journal is not read to its end")
        return "; ".join(files) or "results are not settled"

    def held(self) -> list[Problem]:
        """Return everything that is held back, each with its error and the way out in its path."""
        problems = [output.held for output in self._outputs.values() if output.held]
        problems += [
            problem for problem in (self._state_problem, self._settler.problem, self._upkeep.problem) if problem
        ]
        return problems

    def held_runs(self) -> set[tuple[str, str]]:
        return {output.key[:2] for output in self._outputs.values() if output.held}

    def least_position(self) -> int:
        """Return the journal position from which on records are still needed."""
        needed = (output.first_needed() for output in self._outputs.values())
        return min([self._position, *(position for position in needed if position is not None)])

    async def reconfigure(self, config: AgentConfig, filters: Filters) -> None:
        """Use another configuration, after a checkpoint of all outputs: a line is a function of the two."""
        for output in list(self._outputs.values()):
            await self._checkpoint(output)
        self.config = config
        self.renderer.filters = filters

    def close(self) -> None:
        """Give up the threads; one that hangs in a system call is not waited for."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._upkeep.close()

    # What outputs need.

    async def read(self, position: int, limit_bytes: int) -> tuple[list[Record | Damage], int]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._journal.read, position, limit_bytes)

    async def commit(self, checkpoint: Checkpoint, unsettled: Unsettled | None) -> None:
        try:
            await self._commits.add(checkpoint, unsettled)
        except Exception as error:
            self._hold_state(error)
            raise
        self._state_problem = None
        if unsettled and unsettled.seals:
            self._settler.wake()

    def caught_up(self) -> bool:
        return self._position >= self._replay_end

    def lost(self, key: Key, path: Path) -> None:
        """Mark in the running log that a file went, by the agent's own record so that a replay says the same."""
        producer = self._runs.producer_of(key.experiment, key.run)
        _log.warning("%s was removed or changed by someone else; a new file goes on", path)
        if producer and key.kind == "jsonl":
            fields = {"cause": "removed by someone else", "file": path.name}
            self._append_agent_event(producer, [self.clock(), WARNING, GAP, None, fields])

    def rotated(self, path: Path) -> None:
        self._upkeep.compress(path)

    def is_current(self, experiment: str, run: str, name: str) -> bool:
        return any(output.saved.name == name for key, output in self._outputs.items() if key[:2] == (experiment, run))

    async def loaded(self, key: Key) -> Output:
        """Return the output for a key, as its checkpoint says."""
        output = self._outputs.get(key)
        if output is None:
            found = await self._patiently(lambda: self._checkpoint_of(key))
            output = self._outputs.setdefault(key, Output(found or Checkpoint(*key), self))
        return output

    async def _checkpoint_of(self, key: Key) -> Checkpoint | None:
        found = await self._state.call(self._state.checkpoint, key)
        if found is None and self._is_salvaging:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.executor, salvage, self.fs, self.logs, self.host, key)
        return found

    def resting(self) -> list[Output]:
        """Return the outputs that have nothing to do, the longest unused first."""
        idle = [output for output in self._outputs.values() if not (output.has_work or output.is_dirty or output.held)]
        return sorted(idle, key=lambda output: output.used_at_ns)

    def forget(self, output: Output) -> None:
        """Drop an output that rests; its checkpoint says all about it."""
        if not (output.has_work or output.is_dirty or output.is_served or output.lock.locked()):
            self._outputs.pop(output.key, None)

    @property
    def open_files(self) -> int:
        return sum(output.is_open for output in self._outputs.values())

    # The way of a record.

    async def _dispatch(self) -> None:
        while True:
            if self._position >= self._journal.durable:
                self._moved.clear()
                if self._position >= self._journal.durable:
                    await self._moved.wait()
                continue
            records, end = await self._patiently(lambda: self.read(self._position, _READ_BYTES))
            for record in records:
                if isinstance(record, Record):
                    await self._give(record)
            self._position = end

    async def _give(self, record: Record) -> None:
        if record.kind == HELLO:
            return
        run = self._runs.of(concerned(record))
        if run is None:
            self.unknown_events += record.events
            _log.error("events of the unknown producer %s at journal position %x", record.producer, record.position)
            return
        for kind in ("jsonl", "text") if self.config.text else ("jsonl",):
            output = await self.loaded(Key(*run, kind))
            output.offer(record, keep=await self._has_room(output))
            if not output.is_served:
                self._serve(output)

    async def _has_room(self, output: Output) -> bool:
        """Wait a little for an output that is merely slow; say whether it may hold one more payload."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while not output.is_behind:
            if self.memory.used < _MEMORY_BYTES and output.queued_bytes < _OUTPUT_BYTES:
                return True
            self._progress.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._progress.wait()
            except TimeoutError:
                return False
        return False

    def _serve(self, output: Output) -> None:
        assert self._group is not None  # noqa: S101 - records are only given while it runs
        output.is_served = True
        self._group.create_task(self._work(output))

    async def _work(self, output: Output) -> None:
        while output.has_work:
            try:
                await output.step()
            except Exception as error:  # whatever it is, it concerns this output only
                self._hold(output, error)
                await asyncio.sleep(_RETRY_S)
            self._progress.set()
            # other outputs and the receiver have their turn between two steps
            await asyncio.sleep(0)
        output.is_served = False

    def _hold(self, output: Output, error: Exception) -> None:
        since = output.held.since_ns if output.held else self.clock()
        if output.held is None:
            _log.warning("%s is held back, and tried again: %s", output.path, error)
        if not isinstance(error, OSError):
            _log.error("unexpected, please report", exc_info=error)
        output.held = Problem("output", str(output.path), _said(error), since)

    def _hold_state(self, error: Exception) -> None:
        since = self._state_problem.since_ns if self._state_problem else self.clock()
        self._state_problem = Problem("checkpoints", str(self._state.path), _said(error), since)

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the database, the journal or a file until it answers."""
        while True:
            try:
                found = await ask()
            except Exception as error:  # no space, no permission: said in the status, tried again
                self._hold_state(error)
                await asyncio.sleep(_RETRY_S)
            else:
                self._state_problem = None
                return found

    # Checkpoints.

    async def _checkpoints(self) -> None:
        loop = asyncio.get_running_loop()
        next_all = loop.time() + self.config.checkpoint_s
        while True:
            timeout = _EAGER_STEP_S if self._eager else next_all - loop.time()
            try:
                async with asyncio.timeout(max(0, timeout)):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            now = loop.time()
            if now >= next_all:
                next_all = now + self.config.checkpoint_s
                self._checkpoint_all()
            self._eager = {run: until for run, until in self._eager.items() if until > now}
            self._start(output for key, output in self._outputs.items() if key[:2] in self._eager)

    def _checkpoint_all(self) -> None:
        self._start(self._outputs.values())

    def _start(self, outputs: Iterable[Output]) -> None:
        for output in list(outputs):
            if self._group and output.is_dirty and not output.is_saving:
                output.is_saving = True
                self._group.create_task(self._checkpoint(output))

    async def _checkpoint(self, output: Output) -> None:
        try:
            safe = await output.checkpoint()
        except Exception as error:  # a sync or a commit failed: tried again, others go on
            self._hold(output, error)
        else:
            self._report(safe)
            if safe.problem:
                self._hold(output, safe.problem)
            else:
                output.held = None
        finally:
            output.is_saving = False
        if output.has_work and not output.is_served:
            self._serve(output)

    def _report(self, safe: Safe) -> None:
        if safe.written:
            self._on_written(safe.written)
        if safe.sealed:
            self._on_sealed(safe.sealed)
        for producer in safe.sealed:
            self._runs.forget(producer)
        self._journal.trim(self.least_position())


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
