"""How the end of the process becomes the end of its runs, as far as that is visible from inside.

While runs are active, and only then: `sys.exit` is looked at in passing (see leaving.py), the signals that would end
the process silently (SIGTERM, SIGHUP) are caught where nobody else handles them, and `atexit` finishes what is open.
Where nothing bad is to be seen, the end is only implied: the exit status may know better.

Children of `multiprocessing` leave by `os._exit`, so a finalizer of that module stands in for `atexit` there. Their
signals are left alone: `Pool.terminate` and the like end them by SIGTERM while they are about to wait for a lock, and a
handler in Python is not run before that wait is over, which may be never. The agent tells the end of such a child.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Protocol

from logferry.leaving import Leaving
from logferry.logger import exception_fields
from logferry.results import COMPLETED, FAILED, KILLED

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Finish(Protocol):
    """Ends all runs; returns False while one is being ended by the code that a signal interrupted."""

    def __call__(self, status: str, how: dict[str, Any] | None, *, implied: bool = False) -> bool: ...


class Ending:
    """Watches for the end of this process on behalf of its open runs."""

    def __init__(self, finish_all: Finish) -> None:
        self._finish_all = finish_all
        self._watching = False
        self._signal = 0  # waits for the end that it interrupted
        self._caught: list[int] = []
        self._leaving = Leaving()
        self._child_of_multiprocessing = 0

    def watch(self) -> None:
        """Begin to watch; a second call does nothing."""
        if self._watching:
            return
        self._watching = True
        # Its number only: the exception would keep all that its frames hold.
        self._seen_before = id(getattr(sys, "last_value", None))
        self._leaving.watch()
        atexit.register(self._at_exit)

    def rest(self) -> None:
        """Stop watching and put everything back that is still ours."""
        if not self._watching:
            return
        self._watching = False
        self._leaving.rest()
        atexit.unregister(self._at_exit)
        self._release()
        if self._signal:
            _die(self._signal)

    def forked(self) -> None:
        """Leave the signals of a child alone until it logs; what it is will be known then."""
        self._release()

    def joined(self) -> None:
        """Watch for the end of this process in the way of its kind, now that it has a producer."""
        process = sys.modules.get("multiprocessing.process")
        if process is None or process.parent_process() is None:
            self._catch()
        elif self._child_of_multiprocessing != os.getpid():
            self._child_of_multiprocessing = os.getpid()
            sys.modules["multiprocessing.util"].Finalize(None, self._at_exit, exitpriority=-100)

    def _catch(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._on_signal)
                    self._caught.append(number)

    def _release(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self._caught:
                if signal.getsignal(number) == self._on_signal:
                    signal.signal(number, signal.SIG_DFL)
            self._caught.clear()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        over = True
        try:
            over = self._finish_all(KILLED, {"signal": signal.Signals(number).name}) or self._signal != 0
        finally:
            self._signal = number
            if over:
                _die(number)

    def _at_exit(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter is going: nobody could handle it
            # The interpreter notes what nobody caught, whatever hook shows it. A child of multiprocessing ends while
            # its exception is still on its way.
            error = self._last_value() or sys.exc_info()[1] or self._leaving.uncaught()
            self._finish_all(*verdict(error), implied=error is None)

    def _last_value(self) -> BaseException | None:
        """Return what the interpreter noted since the runs began; of a notebook's cells before, it notes errors too."""
        error: BaseException | None = getattr(sys, "last_value", None)
        return None if id(error) == self._seen_before else error


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def verdict(error: BaseException | None) -> tuple[str, dict[str, Any] | None]:
    """Return (status, how the run ended) for the exception that ended it."""
    if error is None:
        return COMPLETED, None
    if isinstance(error, SystemExit):
        code = error.code
        if code is None or code == 0:
            return COMPLETED, None
        return FAILED, {"code": code if isinstance(code, int) else 1, "exception": f"SystemExit: {code}"}
    if isinstance(error, KeyboardInterrupt):
        return KILLED, {"signal": "SIGINT"}
    return FAILED, {"code": 1, **exception_fields(error)}
