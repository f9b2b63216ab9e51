"""A process that logs into a spool of its own and dies, or waits; nothing of an agent is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.journals import ABOUT

# Arguments: spool root, producer, about as JSON, count of events, "end" or "", what to do then.
_PROGRAM = """
import json, os, sys, time
from pathlib import Path
from logferry import spool
from logferry.buffer import frame
from logferry.events import pack_event
from logferry.segment import HEADER, MAGIC
root, name, about, count, end, then = sys.argv[1:]
about = json.loads(about)
if about["pid"] == 0:
    about |= {"pid": os.getpid(), "pid_start": int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])}
path, _ = spool.create(Path(root), name, about)
head = spool.HeadPage(path)
data = HEADER.pack(MAGIC, 1, 1)
for number in range(1, int(count) + 1):
    data += frame(pack_event(number, 20, "E", None, {"n": number}))
if end:
    data += frame(pack_event(9, 0, "logferry.end", None, {"status": "COMPLETED", "exit": {"code": 0}}))
(path / "00000001.seg").write_bytes(data + bytes(64))
head.shed(10)
print("ready", flush=True)
if then == "wait":
    time.sleep(600)
os._exit(0)
"""


def producer(
    root: Path, name: str, count: int = 3, *, end: bool = False, wait: bool = False, **about: Any
) -> subprocess.Popen[str]:
    """Start the process and wait until its events are in the spool; without `wait`, until it is dead.

    With a `pid` of 0 it says its own and its start, as a job does.
    """
    root.mkdir(parents=True, exist_ok=True)
    arguments = [str(root), name, json.dumps(ABOUT | about), str(count), "end" if end else "", "wait" if wait else ""]
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    if not wait:
        process.wait(20)
    return process
