"""A node of its own for a test: two roots, real services, real jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
# What a job says that has no agent and takes ten seconds, as on a machine with much else to do any job may.
_NO_AGENT = "logferry: no agent for "


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Return the condition's first true value; fail the test with `what` when it does not come in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(0.01)


class Node:
    """Agent, collector and jobs below one directory; `close` ends whatever still runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.dir, self.home = root, root / "node", root / "home"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")}
        self.env |= {"LOGFERRY_NODE_DIR": str(self.dir), "LOGFERRY_HOME": str(self.home)}
        self.processes: list[subprocess.Popen[bytes]] = []

    def configure(self, text: str) -> None:
        path = self.root / "logferry.toml"
        path.write_text(text)
        self.env["LOGFERRY_CONFIG"] = str(path)

    def service(self, verb: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.root / f"{verb}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "logferry", verb, *arguments], env=self.env, stdout=log, stderr=log
        )
        log.close()
        self.processes.append(process)
        return process

    def agent(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start an agent and wait until it says that it is ready."""
        process = self.service("agent", *arguments)

        def is_ready() -> bool:
            assert process.poll() is None, self.said_by("agent")
            return f"ready, pid {process.pid}" in self.said_by("agent")

        wait_for("the agent is ready", is_ready)
        return process

    def said_by(self, verb: str) -> str:
        return (self.root / f"{verb}.log").read_text()

    def job(self, code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a Python program that logs."""
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=self.env, **options)
        self.processes.append(process)
        return process

    def run_job(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stderr.splitlines(keepends=True)
        done.stderr = "".join(line for line in said if not line.startswith(_NO_AGENT))
        return done

    def call(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one verb to its end."""
        return subprocess.run(
            [sys.executable, "-m", "logferry", *arguments],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def asked(self, *arguments: str) -> Any:
        """Return what a verb says with --json."""
        done = self.call(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def lines(self, pattern: str = "*/*/*.jsonl") -> list[dict[str, Any]]:
        """Return all whole lines of the running logs that match, file after file; a write may be under way."""
        paths = sorted((self.home / "logs").glob(pattern))
        return [json.loads(line) for path in paths for line in path.read_bytes().split(b"\n")[:-1]]

    def numbers(self, pattern: str = "*/*/*.jsonl") -> dict[str, list[int]]:
        """Return the numbers of each producer's lines in file order."""
        found: dict[str, list[int]] = {}
        for line in self.lines(pattern):
            producer, _, number = line["seq"].rpartition("-")
            found.setdefault(producer, []).append(int(number))
        return found

    def seals(self, pattern: str = "*/*/*.jsonl") -> list[dict[str, Any]]:
        return [line for line in self.lines(pattern) if line["event"] == "logferry.seal"]

    def result(self, experiment: str, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "results" / experiment / f"{run}.json").read_bytes())
        return found

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(PATIENCE_S)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            with process:  # closes its pipes
                process.wait()
