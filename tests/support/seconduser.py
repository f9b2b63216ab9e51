"""Another local user: a process that gives up this one's uid for good before it does anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

UID = 65534
# Modules are brought in first: the interpreter may lie where the other user may not read.
_BECOME = f"""
import fcntl, json, os, socket, stat, sys, time, zmq
from pathlib import Path
os.setgroups([])
os.setresgid({UID}, {UID}, {UID})
os.setresuid({UID}, {UID}, {UID})
os.umask(0)
"""


def start(code: str, *arguments: Path | str) -> subprocess.Popen[str]:
    """Start Python code as the other user and wait until it says something; it ends with its input."""
    if os.geteuid() != 0:
        pytest.fail("a second user is one only with another uid: run this test as root, as CI does ('make test')")
    command = [sys.executable, "-c", _BECOME + code, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def run(code: str, *arguments: Path | str) -> str:
    """Run Python code as the other user to its end; return what it printed."""
    process = start('print("ready", flush=True)\n' + code, *arguments)
    said, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    return said
