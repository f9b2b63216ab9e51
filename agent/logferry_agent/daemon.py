"""The agent as a program: build the parts, start, wait, stop in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from logferry.cli import FINE, NO, Parser, give_up, printable, say, settings_of
from logferry.layout import Home, LayoutError, NodeDir, host_name, prepare_node_dir
from logferry.settings import Settings, SettingsError
from logferry_agent import config as configuration
from logferry_agent import diagnostics, node_lock
from logferry_agent.adoption import Adoption
from logferry_agent.agent_events import AgentEvents
from logferry_agent.answers import Answers
from logferry_agent.budget import Budget
from logferry_agent.config import AgentConfig
from logferry_agent.exits import Exits
from logferry_agent.filters import Filters
from logferry_agent.fs import FileSystem, Problem, allow_most_files
from logferry_agent.heartbeat import Heartbeat
from logferry_agent.journal import Entry, Journal
from logferry_agent.producers import Producers
from logferry_agent.receiver import Hooks, Receiver
from logferry_agent.slack import share_one_heap
from logferry_agent.state import State
from logferry_agent.steadiness import Steadiness, elapsed_s
from logferry_agent.writer import Writer

_log = logging.getLogger(__name__)
_TICK_S = 0.25
_RETRY_S = 1.0
# What a start needs: the files of SQLite's write-ahead log.
_ROOM_BYTES = 256 << 10
# How long a thread waits for the interpreter before it is given over. By the default of 5 ms a loud producer made the
# waits of all others for their acks four times as long; at 1 ms it does not double them.
_SWITCH_S = 0.001
# What is left of the time to drain for closing files and saying what was not written.
_LAST_S = 1.0
# The rest of the time is for closing, which takes its time too where jobs at full speed leave the agent little.
_DRAIN_SHARE = 0.8


class Agent:
    """One agent on one node directory, whose lock the caller holds. Build it inside the running loop."""

    def __init__(self, settings: Settings, config: AgentConfig, node: NodeDir) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings, self._config, self._node, self._home = settings, config, node, Home(settings.home)
        self._fs, clock_ns, host = FileSystem(), time.time_ns, host_name()
        self._executor = ThreadPoolExecutor(2, "logferry-node")
        self._home_executor = ThreadPoolExecutor(1, "logferry-home")
        self._budget = Budget()
        self._stop, self._force, self.failed = asyncio.Event(), asyncio.Event(), False
        self._state = State(node.state, clock_ns())
        self._journal = Journal(
            node.journal, self._fs, self._on_durable, clock_ns, segment_bytes=config.journal_segment_bytes
        )
        self._producers = Producers(self._journal.ledger)
        events = AgentEvents(self._journal)
        self._filters = Filters(config, self._state.levels())
        self._writer = Writer(
            journal=self._journal,
            about_of=self._producers.about,
            alive=self._producers.alive,
            state=self._state,
            fs=self._fs,
            home=self._home,
            host=host,
            config=config,
            filters=self._filters,
            clock=clock_ns,
            steadiness=Steadiness(clock_ns, elapsed_s),
            on_written=self._on_written,
            on_sealed=self._producers.take_settled,
            append_agent_event=events.append,
            keep_bad=self._journal.quarantine.keep,
        )
        self._answers = Answers(
            node, settings.home, self._journal, self._producers, self._state, self._writer, lambda: self._filters,
            self._held, elapsed_s,
        )  # fmt: skip
        self._exits = Exits()
        hooks = Hooks(
            self._budget.full, self._level_for, self._writer.checkpoint, self._answers.answer, self._exits.watch
        )
        self._receiver = Receiver(_address(settings, node), self._producers, self._journal, hooks)
        self._answers.receiver = self._receiver
        self._adoption = Adoption(
            node.spool, self._producers, self._journal, events, self._budget.full, self._writer.least_position,
            self._receiver.reachable, self._exits, clock_ns, self._executor,
        )  # fmt: skip
        self._heartbeat = Heartbeat(self._fs, settings.home, self._home.agents / host, clock_ns, self._home_executor)

    # what parts tell each other

    def _on_durable(self, entries: list[Entry], _: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for an ack any more
            self._loop.call_soon_threadsafe(self._durable, entries)

    def _durable(self, entries: list[Entry]) -> None:
        self._receiver.take_durable(entries)
        self._writer.durable_moved()

    def _on_written(self, written: dict[str, int]) -> None:
        self._receiver.take_written(written)

    def _level_for(self, experiment_id: str, run_id: str) -> int | None:
        return self._filters.level_for(experiment_id, run_id)

    def _held(self) -> list[Problem]:
        own = [problem for problem in (self._journal.held, self._heartbeat.held) if problem]
        return [*own, *self._writer.held(), *self._adoption.held()]

    # life

    async def run(self, drain_s: float) -> int:
        """Serve until a signal; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._journal.start()
        self._receiver.start()
        self._tasks = [
            self._watched(part)
            for part in (self._writer.run(), self._adoption.run(), self._heartbeat.run(), self._tick())
        ]
        _say_ready(self._node, self._home)
        await self._stop.wait()
        left = await self._drain(drain_s)
        await self._close()
        if left:
            _log.warning("stopped; not written yet, and taken up by the next agent: %s", left)
        return NO if left or self.failed else FINE

    def _watched(self, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(part)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            _log.critical("a part of the agent ended; stopping", exc_info=task.exception())
            self.failed = True
            self._stop.set()

    def _on_signal(self) -> None:
        (self._force if self._stop.is_set() else self._stop).set()

    async def _tick(self) -> None:
        """Look after what no event announces."""
        while self._journal.running:
            self._budget.refresh(self._journal.used_bytes, self._config.journal_bytes, self._writer.held_runs)
            if self._receiver.has_more_to_do:
                self._receiver.tell()
            await asyncio.sleep(_TICK_S)

    async def _drain(self, drain_s: float) -> str:
        """Bring everything that is here into the files; a second signal ends the attempt. Return what is left."""
        limit_s = drain_s * _DRAIN_SHARE
        deadline = self._loop.time() + limit_s
        work = self._loop.create_task(self._drain_until(deadline))
        force = self._loop.create_task(self._force.wait())
        await asyncio.wait({work, force}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            force.cancel()
            return work.result()
        work.cancel()
        force.cancel()
        return "stopped before everything was written"

    async def _drain_until(self, deadline: float) -> str:
        try:
            async with asyncio.timeout_at(deadline):
                await self._adoption.finish()
                self._receiver.take_no_more()
                await self._journal_empty()
        except TimeoutError:
            problem = self._journal.held
            return f"the journal ({problem.error})" if problem else "the spools of producers that ended"
        left = await self._writer.drain(deadline)
        await self._adoption.remove_sealed()
        return left

    async def _journal_empty(self) -> None:
        while self._journal.queued_bytes:  # noqa: ASYNC110 - the journal's thread announces groups, not its end
            await asyncio.sleep(0.01)

    async def _close(self) -> None:
        for task in self._tasks:
            task.remove_done_callback(self._on_end)
            task.cancel()
        await asyncio.wait(self._tasks, timeout=_LAST_S)
        self._writer.close()
        await asyncio.to_thread(self._journal.close, _LAST_S)
        self._receiver.stop()
        self._exits.close()
        self._state.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._home_executor.shutdown(wait=False, cancel_futures=True)

    # configuration

    def _on_hangup(self) -> None:
        self._reload = self._loop.create_task(self._reconfigure())

    async def _reconfigure(self) -> None:
        """Use the configuration file as it is now; keep the old one where that is not valid."""
        try:
            config = configuration.load(self._settings.config)
        except SettingsError as error:
            _log.error("configuration not changed: %s", error)
            return
        try:
            filters = Filters(config, await self._state.call(self._state.levels))
        except sqlite3.Error as error:
            _log.error("configuration not changed: %s: %s", self._state.path, error)
            return
        # With no wait in between, a level that somebody sets is either among these or finds them in force.
        self._writer.reconfigure(config, filters)
        self._config, self._filters = config, filters
        self._receiver.push_levels()
        _log.info("configuration read again from %s", self._settings.config)


def agent(arguments: list[str]) -> int:
    """Verb: run the node's agent."""
    parser = Parser("agent")
    parser.add_argument("--check", action="store_true", help="check the configuration and end")
    parser.add_argument("--drain-s", type=float, metavar="SECONDS", help="how long SIGTERM may take")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    config = configuration.load(settings.config)
    _address(settings, NodeDir(settings.node_dir))
    if options.check:
        print(f"configuration is valid: {printable(str(settings.config or 'defaults'))}")
        return FINE
    node = prepare_node_dir(settings.node_dir)
    diagnostics.set_up()
    # One thread renders for milliseconds at a time; the others have microseconds of work that somebody waits for.
    sys.setswitchinterval(_SWITCH_S)
    share_one_heap()
    try:
        lock = node_lock.take(node.lock)
    except (node_lock.AlreadyRunningError, OSError) as error:
        say(f"logferry agent: {printable(str(error))}")
        return NO
    try:
        _wait_for_room(node.path)
        _prepare(settings, node)
        # Batches leave next to nothing for the collector, which goes through all that a thousand outputs keep.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        code = asyncio.run(_serve(settings, config, node, options.drain_s or config.drain_s))
    except (OSError, sqlite3.Error) as error:
        say(f"logferry agent: cannot start: {printable(str(error))}")
        return NO
    finally:
        os.close(lock)
    return _leave(code)


def _leave(code: int) -> int:
    """Return the exit code, or end here where a call into a file system that hangs would keep the process."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(_LAST_S)
            if thread.is_alive():
                sys.stdout.flush()
                os._exit(code)
    return code


async def _serve(settings: Settings, config: AgentConfig, node: NodeDir, drain_s: float) -> int:
    return await Agent(settings, config, node).run(drain_s)


def _address(settings: Settings, node: NodeDir) -> str:
    """Return where to listen.

    Raises:
        LayoutError: TCP, which needs keys that this version has no settings for, or a path that is too long.

    """
    if settings.agent and not settings.agent.startswith("ipc://"):
        raise LayoutError(f"agent address {settings.agent} is not served; use ipc://PATH or leave LOGFERRY_AGENT unset")
    return settings.agent or node.address


def _wait_for_room(path: Path) -> None:
    """Wait while the node directory's disk is full: a start that fails would need somebody to start it again."""
    probe, held = path / ".room", False
    while True:
        try:
            probe.write_bytes(bytes(_ROOM_BYTES))
            break
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            if not held:
                _log.error("no room in %s to start: %s; waiting, jobs keep their events", path, error.strerror)
            held = True
            time.sleep(_RETRY_S)
        finally:
            probe.unlink(missing_ok=True)
    if held:
        _log.warning("there is room in %s again: starting", path)


def _prepare(settings: Settings, node: NodeDir) -> None:
    """Make the node directory ready, its lock being held."""
    for path in (node.spool, node.journal):
        path.mkdir(mode=0o700, exist_ok=True)
    # The lock is ours, so whoever bound this socket is gone.
    Path(_address(settings, node).removeprefix("ipc://")).unlink(missing_ok=True)
    note = node.home_note.with_name(".home")
    note.write_text(f"{settings.home}\n", encoding="utf-8")
    note.rename(node.home_note)
    allow_most_files()


def _say_ready(node: NodeDir, home: Home) -> None:
    try:
        print(f"logferry agent: ready, pid {os.getpid()}, node {node.path}, home {home.path}", flush=True)
    except OSError as error:  # a full disk, or nobody reads it any more
        give_up(sys.stdout)
        _log.warning("standard output cannot be written: %s", error.strerror)
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
