"""Sees the `SystemExit` that nobody catches: the interpreter has no hook for it.

`sys.exit`, `exit` and `quit` are stood in for while somebody watches. What they raise carries a passenger that goes
with it. An exception that is dropped below the last Python frame was caught by nobody; one that is still there at the
end (asyncio keeps what a task raised) was caught by nobody if the frame that it came furthest to did not return.
`raise SystemExit(3)` carries nobody: its status is only seen from outside of the process.
"""

from __future__ import annotations

import builtins
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from opcode import opmap
from types import TracebackType
from typing import Any

_PLACES: tuple[tuple[Any, str], ...] = ((sys, "exit"), (builtins, "exit"), (builtins, "quit"))
_RETURNS = {code for name, code in opmap.items() if name in {"RETURN_VALUE", "RETURN_CONST"}}


class Leaving:
    """Watches the calls that end the process; `uncaught` is for its very end."""

    def __init__(self) -> None:
        self._exit: SystemExit | None = None
        self._passenger: Callable[[], _Passenger | None] = lambda: None
        self._stood_in: list[tuple[Any, str, _StandIn]] = []

    def watch(self) -> None:
        for module, name in _PLACES:
            if hasattr(module, name):  # `python -S` has no builtins.exit
                stand_in = _StandIn(getattr(module, name), self)
                setattr(module, name, stand_in)
                self._stood_in.append((module, name, stand_in))

    def rest(self) -> None:
        """Put back what is still ours."""
        for module, name, stand_in in self._stood_in:
            if getattr(module, name, None) is stand_in:
                setattr(module, name, stand_in.old)
        self._stood_in.clear()

    def uncaught(self) -> SystemExit | None:
        """Return the exit that is taking the process down, where there is one that was seen."""
        passenger = self._passenger()
        if passenger is not None and _came_through(passenger):
            return SystemExit(passenger.status)
        return self._exit

    def carry(self, error: SystemExit) -> None:
        """Give an exception its passenger."""
        passenger = _Passenger(error.code, self._dropped)
        self._passenger = weakref.ref(passenger)
        error.__dict__["_logferry"] = passenger

    def _dropped(self, status: Any) -> None:
        self._exit = SystemExit(status)


class _StandIn:
    """Is called instead of `sys.exit` and the like, and does what they do."""

    def __init__(self, old: Callable[..., Any], leaving: Leaving) -> None:
        self.old, self._leaving = old, leaving

    def __repr__(self) -> str:
        return repr(self.old)

    def __call__(self, code: Any = None) -> Any:
        try:
            return self.old(code)
        except SystemExit as error:
            if threading.current_thread() is threading.main_thread():
                self._leaving.carry(error)
            raise


class _Passenger:
    """Rides on a `SystemExit` and goes with it: below no Python frame any more only if nobody caught it."""

    def __init__(self, status: Any, dropped: Callable[[Any], None]) -> None:
        self.status, self._dropped = status, dropped

    def __del__(self) -> None:
        try:
            sys._getframe(1)  # noqa: SLF001 - the interpreter's own name for it
        except ValueError:
            self._dropped(self.status)


def _came_through(passenger: _Passenger) -> bool:
    """Say whether the exception that still carries a passenger left the last frame on its way; at the end only."""
    for fields in gc.get_referrers(passenger):
        for error in gc.get_referrers(fields) if isinstance(fields, dict) else ():
            if isinstance(error, SystemExit):
                return _left_by_exception(error.__traceback__)
    return False


def _left_by_exception(traceback: TracebackType | None) -> bool:
    # Who catches an exception stands first in its traceback, and then goes on to a return.
    if traceback is None:
        return False
    frame = traceback.tb_frame
    return frame.f_code.co_code[frame.f_lasti] not in _RETURNS
