"""From the journal to the running logs: composition of the output half.

Promises: every durable event is in its run's JSON-lines file once, in its producer's order, after any number of
crashes; an output that fails or hangs holds up only itself, keeps its place in the journal, and is tried again at
least every two seconds; the journal is trimmed only to what all outputs have checkpointed.

Parts: `Dispatcher` (journal → outputs), `Turns` (when each writes), `Output` (one run's file), `Renderer` (records →
bytes), `Commits` and `State` (checkpoints), `Upkeep` (final files, compression, retention), `Settler` (results of runs
whose producers ended).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from logferry.events import GAP, WARNING
from logferry.layout import Home
from logferry_agent.backlog import Memory
from logferry_agent.calls import Calls
from logferry_agent.chunk import Renderer
from logferry_agent.commits import Commits
from logferry_agent.config import AgentConfig
from logferry_agent.dispatch import Dispatcher
from logferry_agent.filters import Filters
from logferry_agent.fs import FileSystem, Problem, said
from logferry_agent.open_files import OpenFiles, allowed
from logferry_agent.output import Output, Safe
from logferry_agent.record_runs import Runs
from logferry_agent.services import ReadableJournal
from logferry_agent.settle import Settler
from logferry_agent.state import KINDS, Checkpoint, Key, State, Unsettled
from logferry_agent.steadiness import Steadiness
from logferry_agent.turns import Turns
from logferry_agent.upkeep import Upkeep

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_RETRY_S = 1.0
# A request for a checkpoint stays in force for so long, because the events that it is about may still be on their way.
_EAGER_S = 0.5
_EAGER_STEP_S = 0.01
# Who reads what is left over wants to know where, not each of a thousand files.
_MOST_NAMED = 5


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
        steadiness: whether that clock goes as time does.
        on_written: producer → number through which its lines are written and checkpointed.
        on_sealed: producers whose seal is checkpointed.
        append_agent_event: appends an event of the agent's own, see agent_events.py.
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
        steadiness: Steadiness,
        on_written: Callable[[dict[str, int]], None],
        on_sealed: Callable[[list[str]], None],
        append_agent_event: Callable[[str, list[Any]], None],
        keep_bad: Callable[[str, bytes], None],
    ) -> None:
        self.fs, self.logs, self.host, self.config, self.clock = fs, home.logs, host, config, clock
        self.renderer, self.memory, self.calls = Renderer(filters), Memory(), Calls("logferry-logs")
        self.open_files = OpenFiles(self._most_open, self._close_one)
        self.keep_bad, self.rendering = keep_bad, asyncio.Lock()
        self._journal, self._state = journal, state
        self._on_written, self._on_sealed, self._append_agent_event = on_written, on_sealed, append_agent_event
        self._least = journal.oldest
        self._commits = Commits(state, lambda: self._least)
        self._outputs: dict[Key, Output] = {}
        self._runs = Runs(about_of)
        self._turns = Turns(lambda: self.config.checkpoint_s, self._step)
        self._dispatcher = Dispatcher(
            journal, self._runs, self.memory, self._outputs_of, self._turns.serve, self._hold_state
        )
        self.durable_moved, self.read = self._dispatcher.durable_moved, self._dispatcher.read
        self._eager: dict[tuple[str, str], float] = {}
        # What an earlier life left in the journal, which is not appended to before this is built.
        self._replay_end = journal.durable
        # The journal knew of an earlier life and the database did not: of a run without a checkpoint, which may have
        # been quiet since, the files say where it stands.
        self._is_salvaging = state.salvage_end(self._replay_end) > 0
        self._state_problem: Problem | None = None
        self._asked = asyncio.Event()
        self._settler = Settler(state, home, alive, about_of, host, clock)
        self._upkeep = Upkeep(self, state, home, alive, steadiness)
        self.rotated = self._upkeep.compress

    async def run(self) -> None:
        """Write until cancelled."""
        begin = await self._patiently(lambda: self._state.call(self._state.dispatched))
        self._least = max(begin, self._least)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._turns.run())
            group.create_task(self._dispatcher.run(begin))
            group.create_task(self._trim_and_hurry())
            group.create_task(self._upkeep.run())
            group.create_task(self._settler.run())

    def checkpoint(self, experiment_id: str, run_id: str) -> None:
        """Ask for checkpoints of a run's files as soon as what is durable now is written."""
        self._eager[experiment_id, run_id] = asyncio.get_running_loop().time() + _EAGER_S
        self._asked.set()
        self._dispatcher.hurry()

    async def prune(self) -> list[Path]:
        """Apply the retention now; return what was removed."""
        return await self._upkeep.prune(asked=True)

    async def drain(self, deadline: float) -> str:
        """Write and checkpoint all that is durable, until `deadline` on the loop's clock; say what is left."""
        try:
            async with asyncio.timeout_at(deadline):
                while not self._dispatcher.is_done or self._unfinished():
                    self._dispatcher.hurry()
                    late_s = asyncio.get_running_loop().time() - _RETRY_S  # for one that failed, and may be well again
                    unfinished = self._unfinished()
                    self._turns.hurry(one for one in unfinished if not one.is_behind or one.last_turn_s < late_s)
                    await asyncio.sleep(_EAGER_STEP_S)
                settled = await self._settler.settle_all()
        except TimeoutError:
            return self._left_over()
        finally:
            self._trim()
        return "" if settled else f"results not settled: {self._settler.problem}"

    def _unfinished(self) -> list[Output]:
        return [output for output in self._outputs.values() if output.has_work or output.is_served]

    def _left_over(self) -> str:
        unfinished = self._unfinished()
        files = [f"{one.path}: {one.held.error if one.held else 'not all written'}" for one in unfinished]
        if len(files) > _MOST_NAMED:
            files[_MOST_NAMED:] = [f"and {len(files) - _MOST_NAMED} more files"]
        if not self._dispatcher.is_done:
            files.append("the journal is not read to its end")
        return "; ".join(files) or "results are not settled"

    @property
    def unknown_events(self) -> int:
        """How many events were of producers that nobody knows."""
        return self._dispatcher.unknown_events

    @property
    def position(self) -> int:
        """Up to where the journal was given out."""
        return self._dispatcher.position

    def held(self) -> list[Problem]:
        """Return everything that is held back, each with its error and the way out in its path."""
        found = [output.held for output in self._outputs.values()]
        found += [self._state_problem, self._settler.problem, *self._upkeep.problems.values()]
        return [problem for problem in found if problem]

    def held_runs(self) -> set[tuple[str, str]]:
        return {output.key[:2] for output in self._outputs.values() if output.held}

    def least_position(self) -> int:
        """Return the journal position from which on records are still needed."""
        needed = (output.backlog.first_needed() for output in self._outputs.values())
        return min([self._dispatcher.position, *(position for position in needed if position is not None)])

    def _trim(self) -> None:
        if self._least < self.position:  # else all that was given out is safe: to look at a thousand outputs is work
            self._least = self.least_position()
        self._journal.trim(self._least)

    def reconfigure(self, config: AgentConfig, filters: Filters) -> None:
        """Use another configuration: a line of text that is written once more from a checkpoint follows it too."""
        self.config = config
        self.renderer.filters = filters

    def close(self) -> None:
        """Give up the threads; one that hangs in a system call is not waited for."""
        for part in (self.calls, self._dispatcher, self._upkeep, self._settler):
            part.close()

    # what outputs need

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
        return self._dispatcher.position >= self._replay_end

    def lost(self, key: Key, path: Path) -> None:
        """Mark in the running log that a file went, by the agent's own record so that a replay says the same."""
        producer = self._runs.producer_of(key.experiment, key.run)
        _log.warning("%s was removed or changed by someone else; a new file goes on", path)
        if producer and key.kind == "jsonl":
            fields = {"cause": "removed by someone else", "file": path.name}
            self._append_agent_event(producer, [self.clock(), WARNING, GAP, None, fields])

    # the outputs

    async def _outputs_of(self, run: tuple[str, str]) -> list[Output]:
        return [await self.loaded(Key(*run, kind)) for kind in (KINDS if self.config.text else KINDS[:1])]

    async def loaded(self, key: Key) -> Output:
        """Return the output for a key, as its checkpoint says."""
        output = self._outputs.get(key)
        if output is None:
            found = await self._patiently(lambda: self._state.call(self._state.checkpoint, key))
            new = Output(found or Checkpoint(*key), self, is_known=found is not None or not self._is_salvaging)
            output = self._outputs.setdefault(key, new)
            self._turns.serve(output)
        output.use()
        return output

    def forget_idle(self, for_s: float) -> list[Output]:
        """Drop the outputs not used for so long, for their files to be closed: a checkpoint says all about each."""
        before_s = asyncio.get_running_loop().time() - for_s
        idle = [one for one in self._outputs.values() if one.used_at_s < before_s and one.is_idle]
        for output in idle:
            del self._outputs[output.key]
        return idle

    def _most_open(self) -> int:
        # What hangs cannot be closed, and must not keep others from being opened.
        return allowed(self.config.open_files) + self.calls.hanging

    async def _close_one(self) -> bool:
        """Close the longest unused file; say whether there was one that nobody is at."""
        free = (one for one in self._outputs.values() if one.is_open and not one.lock.locked() and not one.is_served)
        output = min(free, key=lambda one: one.used_at_s, default=None)
        if output is None:
            return False
        if output.is_dirty:
            await self._checkpoint(output)
        await output.rest()
        return True

    async def _step(self, output: Output, sync: bool) -> None:
        try:
            self._report(await output.step(sync=sync))
        except Exception as error:  # whatever it is, it concerns this output only
            output.hold(error)
            await asyncio.sleep(_RETRY_S)
        self._dispatcher.progressed()

    def _hold_state(self, error: Exception) -> None:
        since = self._state_problem.since_ns if self._state_problem else self.clock()
        path = getattr(error, "filename", None) or self._state.path
        self._state_problem = Problem("checkpoints", str(path), said(error), since)

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the database until it answers."""
        while True:
            try:
                found = await ask()
            except Exception as error:  # no space, no permission: said in the status, tried again
                self._hold_state(error)
                await asyncio.sleep(_RETRY_S)
            else:
                self._state_problem = None
                return found

    # checkpoints

    async def _trim_and_hurry(self) -> None:
        """Trim the journal once in a while; have those write whose checkpoints are asked for."""
        loop = asyncio.get_running_loop()
        next_trim = loop.time() + self.config.checkpoint_s
        while True:
            timeout = _EAGER_STEP_S if self._eager else next_trim - loop.time()
            try:
                async with asyncio.timeout(max(0, timeout)):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            now = loop.time()
            if now >= next_trim:
                next_trim = now + self.config.checkpoint_s
                self._trim()
            self._eager = {run: until for run, until in self._eager.items() if until > now}
            if self._eager:
                self._dispatcher.hurry()
            keys = [Key(*run, kind) for run in self._eager for kind in KINDS]
            self._turns.hurry(filter(None, map(self._outputs.get, keys)))

    async def _checkpoint(self, output: Output) -> None:
        try:
            self._report(await output.checkpoint())
        except Exception as error:  # a sync or a commit failed: tried again, others go on
            output.hold(error)

    def _report(self, safe: Safe) -> None:
        if safe.written:
            self._on_written(safe.written)
        self._on_sealed(safe.sealed)
        for producer in safe.sealed:
            self._runs.forget(producer)
