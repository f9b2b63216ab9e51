"""`logferry up`: agent and collector together, in the foreground, or for as long as a command runs.

In a batch script the services live as long as the command: its exit code is handed on, signals that ask for an end are
passed to it, and everything that it logged is durable, written and in the store before `up` returns. An agent that
serves this node already is used and left running.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from logferry.cli import FINE, NO, Parser, UsageError, printable, say, settings_of
from logferry.layout import prepare_node_dir
from logferry.settings import Settings
from logferry.spool import lock_holder
from logferry_agent.asking import ask
from logferry_agent.live import show
from logferry_agent.processes import is_running

# Schedulers kill 30 s after SIGTERM (Slurm's KillWait): the command gets a part of it, draining the rest.
_ALL_S, _COMMAND_S, _COLLECT_S = 25.0, 10.0, 4.0
_START_S = 20.0
_POLL_S = 0.05
# One that ends as soon as it is started is started ever more rarely.
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
# What a service said before it ended is in the pipe already; a child of its own might hold that open.
_LAST_WORDS_S = 1.0
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def up(arguments: list[str]) -> int:
    """Verb: run agent and collector, with a command for as long as that runs."""
    parser = Parser("up", epilog="Example for a batch script: logferry up -- srun python train.py")
    parser.add_argument("command", nargs="*", metavar="CMD", help="after --: run it and end when it has ended")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    prepare_node_dir(settings.node_dir)
    end = _End()
    services = Services(settings, relays=not options.command and sys.stdout.isatty())
    try:
        services.start()
        code = _command(options.command, services, end) if options.command else _foreground(services, settings, end)
        left = services.stop(end)
    finally:
        services.kill()
    if left:
        say(f"logferry up: not written yet, and kept for the next agent: {printable(left)}")
    return code


class _End:
    """Remembers when the first signal came that asks for an end, and passes signals on to the command."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.asked_at: float | None = None
        self.forced = False
        for number in {*_PASSED_ON, *_ENDING}:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        if number in _ENDING:
            self.forced = self.asked_at is not None
            self.asked_at = self.asked_at or time.monotonic()
        # Ctrl-C at a terminal reaches the command without us.
        if self.child is not None and (number in _PASSED_ON or not sys.stdin.isatty()):
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(number)

    def deadline(self) -> float:
        return (self.asked_at or time.monotonic()) + _ALL_S


class Services:
    """Agent and collector as children of this process; restarted when they end by themselves.

    Args:
        settings: what they serve.
        relays: what they say goes through this process, whose live view would be torn by lines of others.

    """

    def __init__(self, settings: Settings, *, relays: bool = False) -> None:
        self.settings = settings
        self._node = prepare_node_dir(settings.node_dir)
        self.env = {
            **os.environ,
            "LOGFERRY_NODE_DIR": str(settings.node_dir),
            "LOGFERRY_HOME": str(settings.home),
            **({"LOGFERRY_CONFIG": str(settings.config)} if settings.config else {}),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started_s: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}
        self._relays = relays
        self._relaying: list[threading.Thread] = []
        self.foreign = lock_holder(self._node.lock)

    def start(self) -> None:
        """Start what is not running yet, and wait until the agent answers."""
        if self.foreign:
            say(f"logferry up: the agent with pid {self.foreign} serves this node")
        else:
            self._start("agent")
        self._start("collector")
        deadline = time.monotonic() + _START_S
        if not self._agent_answers(lambda: time.monotonic() > deadline):
            raise UsageError("up: the agent did not start; its reason stands above, or try: logferry agent")

    def _agent_answers(self, is_over: Callable[[], bool]) -> bool:
        """Wait until the agent answers; return whether it does."""
        while not self._ended("agent"):
            if ask(self.settings, "status", {}) is not None:
                return True
            if is_over():
                return False
            time.sleep(_POLL_S)
        return False

    def _start(self, verb: str) -> None:
        self._started_s[verb] = time.monotonic()
        self._ended_s.pop(verb, None)
        # A session of their own: Ctrl-C at the terminal is for the command and for us.
        process = self._running[verb] = subprocess.Popen(
            [sys.executable, "-m", "logferry", verb],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if self._relays else None,
            start_new_session=True,
        )
        if process.stderr is not None:
            self._relaying.append(threading.Thread(target=_relay, args=(process.stderr,), daemon=True))
            self._relaying[-1].start()

    def _ended(self, verb: str) -> bool:
        return verb in self._running and self._running[verb].poll() is not None

    def look_after(self) -> None:
        """Start again what has ended by itself."""
        for verb in [verb for verb in self._running if self._ended(verb)]:
            now, pause_s = time.monotonic(), self._pause_s.get(verb, 0.0)
            ended_s = self._ended_s.setdefault(verb, now)
            if ended_s - self._started_s[verb] > _LONGEST_PAUSE_S:  # it ran well in between
                pause_s = 0.0
            if now - self._started_s[verb] >= pause_s:
                self._pause_s[verb] = min(max(_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S)
                self._start_again(verb)

    def _start_again(self, verb: str) -> bool:
        say(f"logferry up: the {verb} ended by itself and is started again")
        try:
            self._start(verb)
        except (OSError, RuntimeError) as error:  # no more processes or threads: the command goes on
            say(f"logferry up: {error}")
            return False
        return True

    def stop(self, end: _End) -> str:
        """Drain: everything durable, written and in the store; return what is left."""
        left = self._stop_agent(end) if "agent" in self._running else self._await_foreign(end)
        self._terminate("collector", _COLLECT_S)
        once = [sys.executable, "-m", "logferry", "collector", "--once"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            limit = max(_COLLECT_S, end.deadline() - time.monotonic())
            subprocess.run(once, env=self.env, stdout=subprocess.DEVNULL, timeout=limit, check=False)
        return left

    def _stop_agent(self, end: _End) -> str:
        limit, kept = end.deadline() - _COLLECT_S, f"see {self.settings.node_dir}"
        # Before it serves, SIGTERM ends it without any draining; one that is there and busy needs time for that too.
        served_by = (time.monotonic() + limit) / 2

        def is_over() -> bool:
            return end.forced or time.monotonic() > served_by

        # One that ended by itself, be it just now, left what was logged since to another.
        if not self._agent_answers(is_over) and self._ended("agent"):
            if not self._start_again("agent"):
                return kept
            self._agent_answers(is_over)
        agent = self._running["agent"]
        agent.send_signal(signal.SIGTERM)
        forced = False
        while agent.poll() is None and time.monotonic() < limit + 1:
            if not forced and (end.forced or time.monotonic() > limit):
                agent.send_signal(signal.SIGTERM)  # the second one forces
                forced = True
            time.sleep(_POLL_S)
        return "" if agent.poll() == FINE else kept

    def _await_foreign(self, end: _End) -> str:
        """Wait until the node's own agent has written what the ended producers left."""
        waiting: list[str] = []
        while time.monotonic() < end.deadline() - _COLLECT_S and not end.forced:
            status = ask(self.settings, "status", {}) or {"producers": []}
            waiting = [one["run_id"] for one in status["producers"] if one["sealed"] or not is_running(one)]
            waiting += [path.name for path in self._dead_spools()]
            if not waiting:
                return ""
            time.sleep(_POLL_S)
        return ", ".join(waiting)

    def _dead_spools(self) -> list[Path]:
        spools = self._node.spool.iterdir() if self._node.spool.is_dir() else ()
        return [path for path in spools if path.name[0] != "." and lock_holder(path / "lock") is None]

    def _terminate(self, verb: str, timeout: float) -> None:
        if not self._ended(verb):
            self._running[verb].send_signal(signal.SIGTERM)
        try:
            self._running[verb].wait(timeout)
        except subprocess.TimeoutExpired:
            self._running[verb].kill()

    def kill(self) -> None:
        """Leave nothing running that was started here."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for thread in self._relaying:
            thread.join(_LAST_WORDS_S)


def _relay(said: BinaryIO) -> None:
    """Print what a service says; rich puts above its live view what this process prints."""
    with said:
        for line in said:
            say(printable(line.decode(errors="replace").rstrip("\n")))


def _command(command: list[str], services: Services, end: _End) -> int:
    """Run the command; return its exit code, 128 + n where signal n ended it."""
    try:
        child = end.child = subprocess.Popen(command, env=services.env)
    except OSError as error:
        say(f"logferry up: {printable(command[0])}: {error.strerror}")
        return 127
    while child.poll() is None:
        if end.asked_at and time.monotonic() > end.asked_at + _COMMAND_S:
            say("logferry up: the command did not end in time and is killed")
            child.kill()
            child.wait()
        services.look_after()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _foreground(services: Services, settings: Settings, end: _End) -> int:
    """Show how things are until a signal comes."""
    try:
        for _ in show(settings):
            services.look_after()
            if end.asked_at:
                return FINE
    except OSError as error:
        say(f"logferry up: {error}")
        return NO
    return FINE
