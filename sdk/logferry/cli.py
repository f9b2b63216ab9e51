"""The `logferry` command: finds the verb's function and runs it.

A verb is a function that takes the arguments after the verb and returns the exit code (0 fine, 1 says no, 2 usage).
This module knows of every verb only where it is, its extra and its summary, so that `logferry --help` imports nothing
else and a base installation can say what is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn, TextIO

from logferry.layout import LayoutError, is_control
from logferry.settings import Settings, SettingsError, load

FINE, NO, USAGE = 0, 1, 2
_STDOUT, _STDERR = 1, 2

# verb: (module and function, extra that brings what they need, summary)
VERBS: dict[str, tuple[str, str, str]] = {
    "up": (
        "logferry_agent.up:up",
        "all",
        "agent and collector in the foreground; with '-- CMD…' for as long as the command runs",
    ),
    "demo": (
        "logferry.demo.sweep:demo",
        "demo",
        "train 30 small models in parallel, lose some, and show what is left of them",
    ),
    "agent": ("logferry_agent.start:agent", "agent", "the node's agent, as a service"),
    "collector": ("logferry_collector.service:collector", "collector", "the results collector, as a service or --once"),
    "exec": ("logferry.command:exec_", "", "run a command that knows nothing of logferry; its output becomes events"),
    "status": (
        "logferry_agent.status:status",
        "agent",
        "is it up; what is connected, queued, durable, written, shed, held",
    ),
    "runs": ("logferry_collector.runs:runs", "collector", "list runs and how they ended"),
    "logs": ("logferry_agent.logs:logs", "agent", "read running logs"),
    "search": ("logferry_agent.search:search", "agent", "find a text in the running logs of many runs"),
    "level": ("logferry_agent.level:level", "agent", "change the level of running jobs, at once"),
    "verify": (
        "logferry_agent.verify:verify",
        "agent",
        "is every event there once and in order, or what is missing and why",
    ),
    "results": ("logferry_collector.table:results", "collector", "the results table: filter, sort, group"),
    "compare": ("logferry_collector.compare:compare", "collector", "differences between runs, side by side"),
    "show": ("logferry_collector.show:show", "collector", "one run whole, with its errors"),
    "plot": (
        "logferry_collector.plot:plot",
        "all",
        "draw results: points, lines with bands over seeds, parallel coordinates",
    ),
    "tag": ("logferry_collector.edit:tag", "collector", "put tags on runs, and take them away"),
    "note": ("logferry_collector.edit:note", "collector", "write something about a run"),
    "rm": ("logferry_collector.edit:rm", "collector", "put runs into the trash, or take them out"),
    "ingest": ("logferry_collector.ingest:ingest", "collector", "take in result files once"),
    "rejects": ("logferry_collector.rejects:rejects", "collector", "result files that were refused, and why"),
    "sql": ("logferry_collector.sql:sql", "collector", "a read-only SQL query over the store"),
    "store": (
        "logferry_collector.upkeep:store",
        "collector",
        "copy the store, check it, or rebuild it from the result files",
    ),
    "prune": ("logferry_agent.prune:prune", "agent", "apply the retention policy and empty the trash now"),
    "doctor": ("logferry_agent.doctor:doctor", "agent", "what is wrong with this installation"),
}

# What the extras bring, by the name that is imported.
EXTRA_PACKAGES = frozenset(
    "aiofiles matplotlib numpy orjson pandas psycopg pyarrow rich sklearn watchdog yaml zstandard".split()
)


class UsageError(Exception):
    """The user asked for something that cannot be: printed on stderr without a traceback, exit code 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    _occupy_closed_descriptors()
    try:
        return _run_to_end(arguments)
    finally:
        _forget_what_stderr_holds()


def _run_to_end(arguments: Sequence[str] | None) -> int:
    if sys.stdout is None:
        return _complain("standard output is closed; redirect it, to /dev/null if nobody reads it")
    output = _Output(_STDOUT, "wb", closefd=False)
    try:
        with contextlib.redirect_stdout(output.as_text()):
            try:
                return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
            finally:
                sys.stdout.flush()
    except (UsageError, SettingsError, LayoutError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if not output.fails:
            raise
        give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):  # `logferry logs | head`: the reader has seen enough
            return FINE
        return _complain(f"standard output cannot be written: {error.strerror}")


class _Output(io.FileIO):
    """Descriptor 1, which knows whether the last write to it failed: an OSError does not say what it is of."""

    fails = False

    def write(self, data: Any, /) -> int:
        self.fails = True
        written = super().write(data)
        self.fails = False
        return written

    def as_text(self) -> TextIO:
        """Return what takes the place of standard output; where that is not the process's own, itself."""
        own = sys.stdout
        if own is not sys.__stdout__ or not isinstance(own, io.TextIOWrapper):
            return own
        at_once = own.line_buffering or own.write_through
        return io.TextIOWrapper(io.BufferedWriter(self), own.encoding, own.errors, line_buffering=at_once)


def _occupy_closed_descriptors() -> None:
    """Let no file of ours become descriptor 1 or 2: what `exec` copies, or a library says, would go into it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)


def give_up(stream: TextIO) -> None:
    """Write nothing more to a stream, also not what is left in its buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _forget_what_stderr_holds() -> None:
    """Keep what could not be written until now from making Python end with an exit code of its own."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)


def say(line: str) -> None:
    """Print a line on stderr, if that is possible: a service does not end because its log is on a full disk."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in {"-h", "--help", "help"}:
        print(_help())
        return FINE if given else USAGE
    if given[0] == "--version":
        from importlib.metadata import version  # noqa: PLC0415 - takes as long as all the rest

        print(f"logferry {version('logferry')}")
        return FINE
    return _run(given[0], given[1:])


def _run(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!a}; 'logferry --help' lists them")
    where, extra, _ = VERBS[verb]
    module, _, name = where.partition(":")
    try:
        function: Callable[[list[str]], int] = getattr(import_module(module), name)
        return function(arguments)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_PACKAGES:  # a fault of ours or of somebody else's, which an extra does not mend
            raise
        raise UsageError(
            f"'logferry {verb}' needs the package {package}; install it with: pip install 'logferry[{extra}]'"
        ) from error


def _complain(message: str) -> int:
    say(f"logferry: {printable(message)}")
    return USAGE


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {summary}" for verb, (*_, summary) in VERBS.items()]
    return "\n".join(
        ["usage: logferry VERB …", "", "Durable logging from many parallel jobs, and one store of their results.", ""]
        + [*lines, "", "'logferry VERB --help' says more; LOGFERRY_NODE_DIR and LOGFERRY_HOME say where things are."]
    )


class Parser(argparse.ArgumentParser):
    """Arguments of one verb; every verb takes the two roots and the configuration file."""

    def __init__(self, verb: str, description: str = "", epilog: str | None = None) -> None:
        super().__init__(prog=f"logferry {verb}", description=description or VERBS[verb][2], epilog=epilog)
        if "\n" in (epilog or ""):  # examples, a line each
            self.formatter_class = argparse.RawDescriptionHelpFormatter
        roots = self.add_argument_group("where things are")
        roots.add_argument("--node-dir", metavar="DIR", help="in place of LOGFERRY_NODE_DIR")
        roots.add_argument("--home", metavar="DIR", help="in place of LOGFERRY_HOME")
        roots.add_argument("--config", metavar="FILE", help="in place of LOGFERRY_CONFIG")

    def print_help(self, file: Any = None) -> None:
        (file or sys.stdout).write(self.format_help())  # argparse's own says nothing of what cannot be written

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog.removeprefix('logferry ')}: {message}; '{self.prog} --help' says more")


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings in force for a verb's parsed arguments."""
    return load(node_dir=options.node_dir, home=options.home, config=options.config)


def printable(text: str) -> str:
    """Return `text` with everything that could act on a terminal as its escape; line feeds and tabs too."""
    if text.isprintable():
        return text
    return "".join(char.encode("unicode_escape").decode() if is_control(char) else char for char in text)
