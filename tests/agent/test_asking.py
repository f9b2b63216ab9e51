"""Asking the agent from a command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Asks again and again, each time interrupted a line later, until it gives up what it asked with.
_INTERRUPTED = """
import sys
from pathlib import Path
from logferry.settings import Settings
from logferry_agent.asking import ask

def trace(frame, event, _):
    global left
    if frame.f_code.co_name == "destroy":
        left = -1
    if frame.f_code.co_name not in {"ask", "close"}:  # what pyzmq is still making nobody else can close
        return None
    left -= event == "line"
    if left == 0:
        raise KeyboardInterrupt
    return trace

root = Path(sys.argv[1])
line, left = 0, 0
while left >= 0:
    line += 1
    left = line
    sys.settrace(trace)
    try:
        ask(Settings(root, root, agent=f"ipc://{root}/nobody"), "status", {}, timeout_s=0)
    except KeyboardInterrupt:
        pass
    sys.settrace(None)
print(line)
"""


def test_whoever_is_interrupted_while_asking_does_not_hang(root: Path) -> None:
    command = [sys.executable, "-c", _INTERRUPTED, root]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30)
    assert int(done.stdout) > 8
