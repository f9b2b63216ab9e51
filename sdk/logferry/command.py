"""`logferry exec`: run a command that knows nothing of logferry; its output lines become events.

The command's output still appears where it would have. What only a parent sees, its exit status or the signal that
ended it, goes into the run's result, and that it was the OOM killer's where the cgroup says so. Signals that ask for an
end are passed on to the command.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from time import monotonic
from typing import BinaryIO

from logferry import cgroup
from logferry.cli import Parser, UsageError
from logferry.results import COMPLETED, FAILED, KILLED
from logferry.run import Run
from logferry.session import init

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
# A line without an end (a progress bar that never breaks it) is cut into events of this size.
_MAX_LINE_BYTES = 64 << 10
# A grandchild may keep the pipes open for ever; the command itself has ended.
_REST_S = 2.0
# How late a signal may be passed on at the worst.
_LOOK_UP_S = 0.5


def exec_(arguments: list[str]) -> int:
    """Run the verb; the exit code is the command's, 128 + n where signal n ended it."""
    parser = Parser("exec", epilog="Example: logferry exec --experiment exp042 -- ./simulate --steps 1000")
    parser.add_argument("--experiment", required=True, metavar="ID", help="experiment that the run belongs to")
    parser.add_argument("--run", metavar="ID", help="run id; by default a new one")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="tag of the run; may be repeated")
    parser.add_argument("--notes", default="", metavar="TEXT", help="free text for the result")
    parser.add_argument("command", nargs="+", metavar="CMD", help="after --: the command and its arguments")
    options = parser.parse_args(arguments)
    for name, value in (("NODE_DIR", options.node_dir), ("HOME", options.home), ("CONFIG", options.config)):
        if value:
            os.environ[f"LOGFERRY_{name}"] = value
    if shutil.which(options.command[0]) is None:
        raise UsageError(f"exec: {options.command[0]!r} is not an executable command on this machine")
    # Before `init`, which leaves a signal alone that somebody handles.
    passing = _Passing()
    try:
        run = init(options.experiment, run_id=options.run, tags=options.tag, notes=options.notes)
    except ValueError as error:
        raise UsageError(f"exec: {error}") from error
    return _run(run, options.command, passing)


class _Passing:
    """Passes signals on to the command, from the moment there is one."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        for number in _PASSED_ON:
            signal.signal(number, self._pass)

    def _pass(self, number: int, _: object) -> None:
        if self.child is None:
            self._early.append(number)
        else:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(number)

    def to(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        for number in self._early:
            child.send_signal(number)


def _run(run: Run, command: list[str], passing: _Passing) -> int:
    run.info("CommandStarted", command=command)
    memory = cgroup.own()
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    except OSError as error:  # a script without an interpreter, a program for another machine
        run.end(FAILED, {"exception": f"{command[0]}: {error.strerror}"})
        raise UsageError(f"exec: {command[0]!r} cannot be executed: {error.strerror}") from error
    passing.to(child)
    assert child.stdout is not None  # noqa: S101 - asked for above
    assert child.stderr is not None  # noqa: S101 - asked for above
    readers = [
        threading.Thread(target=_pass_lines, args=(run, pipe, copy, stream), daemon=True)
        for pipe, copy, stream in ((child.stdout, 1, "stdout"), (child.stderr, 2, "stderr"))
    ]
    for reader in readers:
        reader.start()
    code = _wait(child)
    rest_until = monotonic() + _REST_S
    for reader in readers:
        reader.join(max(0.0, rest_until - monotonic()))
    status, how = _ended(code)
    now = cgroup.own()
    if how.get("signal") == "SIGKILL" and memory and now and now.oom_kills > memory.oom_kills:
        how["reason"] = "oom"
    run.info("CommandEnded", **how)
    run.end(status, how)
    return code if code >= 0 else 128 - code


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the command and go on handling signals.

    Python handles them on the main thread between two steps; one that arrives just before a system call begins to wait
    is only seen when that call ends. So another thread waits for the child, and this one looks up now and then.
    """
    waiter = threading.Thread(target=child.wait, daemon=True)
    waiter.start()
    while waiter.is_alive():
        waiter.join(_LOOK_UP_S)
    return child.wait()


def _ended(code: int) -> tuple[str, dict[str, int | str]]:
    if code < 0:
        try:
            return KILLED, {"signal": signal.Signals(-code).name}
        except ValueError:  # a real-time signal
            return KILLED, {"signal": f"signal {-code}"}
    return (COMPLETED if code == 0 else FAILED), {"code": code}


def _pass_lines(run: Run, pipe: BinaryIO, copy: int, stream: str) -> None:
    """Copy a stream to descriptor `copy` and turn its lines into events named "Output"."""
    rest = b""
    while chunk := os.read(pipe.fileno(), 1 << 16):
        with contextlib.suppress(OSError):  # whoever read our output has gone; the events go on
            _write_all(copy, chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _line(run, line, stream)
        if len(rest) > _MAX_LINE_BYTES:
            _line(run, rest, stream)
            rest = b""
    if rest:
        _line(run, rest, stream)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _line(run: Run, line: bytes, stream: str) -> None:
    # Of a progress bar that redraws itself only the last state was seen.
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "backslashreplace")
    if text.strip():
        run.info("Output", text, stream=stream)
