"""What a signal's handler raises inside of a log call is meant for the job, not for the call.

Python runs a handler between any two steps of the main thread. Taken for a fault of a value, or for a full segment, the
end of a time limit (`TimeoutError` by SIGALRM) would never be noticed, and the event be missing or there twice.
"""

from __future__ import annotations

from itertools import pairwise
from types import FrameType

# inspect.CO_VARARGS, whose module takes milliseconds to import.
_VARARGS = 0x04


def let_through(error: BaseException) -> None:
    """Raise the error again if a signal's handler raised it."""
    step = error.__traceback__
    while step is not None and (inner := step.tb_next) is not None:
        if _was_interrupted(step.tb_frame, inner.tb_frame):
            raise error
        step = inner


def _was_interrupted(frame: FrameType, by: FrameType) -> bool:
    """Say whether a function was called as handlers are: with a signal's number and the frame that it interrupted."""
    code = by.f_code
    if code.co_argcount < 2 and not code.co_flags & _VARARGS:
        return False
    local = by.f_locals
    arguments = [local.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _VARARGS:
        arguments += local.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
    return any(isinstance(before, int) and after is frame for before, after in pairwise(arguments))
