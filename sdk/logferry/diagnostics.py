"""What the SDK itself has to say: single lines on stderr, each kind at most once a minute.

Never through `logging`: its handlers may lead back here.
"""

from __future__ import annotations

import sys
from time import monotonic

from logferry.interruption import let_through

_REPEAT_S = 60.0
_said: dict[str, float] = {}


def complain(kind: str, message: str) -> None:
    """Print one line unless one of this kind was printed within the last minute."""
    now = monotonic()
    if now - _said.get(kind, -_REPEAT_S) < _REPEAT_S:
        return
    _said[kind] = now
    try:
        print(f"logferry: {message}", file=sys.stderr, flush=True)
    except Exception as error:  # stderr may be closed, full or somebody's broken object
        let_through(error)
