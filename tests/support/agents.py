"""A real agent process on roots of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self


def wait_for(condition: Callable[[], Any], deadline_s: float = 30) -> Any:
    """Return the first true value of `condition`."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


class AgentProcess:
    """`logferry agent`, started and ready; a context manager that kills it if it is still there."""

    def __init__(self, node_dir: Path, home: Path, *arguments: str, config: Path | None = None) -> None:
        given = ["--node-dir", str(node_dir), "--home", str(home), *arguments]
        given += ["--config", str(config)] if config else []
        self.errors = node_dir.parent / "agent.err"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "logferry", "agent", *given], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        assert "ready" in self.ready, self.said()

    @property
    def pid(self) -> int:
        return self.process.pid

    def descriptors(self) -> list[str]:
        """Return what each of its descriptors leads to, without those that it closes meanwhile."""
        found = []
        for path in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(path))
        return found

    def said(self) -> str:
        return self.errors.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


def logferry(*arguments: str, node_dir: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run one verb in a process of its own."""
    environment = os.environ | {"LOGFERRY_NODE_DIR": str(node_dir), "LOGFERRY_HOME": str(home)}
    command = [sys.executable, "-m", "logferry", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=False)


def status(node_dir: Path, home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(logferry("status", "--json", node_dir=node_dir, home=home).stdout)
    return found


def lines(home: Path) -> list[dict[str, Any]]:
    """Return all whole lines of the running logs, file after file; a write may be under way."""
    files = sorted(home.glob("logs/*/*/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().split(b"\n")[:-1]]
