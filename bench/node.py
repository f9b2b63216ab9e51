"""A node of its own for measurements: an agent, and producers whose spools were filled before it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ahead import scratch

from logferry.layout import NodeDir
from logferry.settings import load
from logferry_agent.answers import resident_bytes
from logferry_agent.asking import ask

# Fills its spool, says so, and stays until its input ends.
PRODUCER = """
import sys, logferry
run = logferry.init("bench", run_id=sys.argv[1])
for i in range(int(sys.argv[2])):
    run.info("EpochEnd", epoch=i, batch=42, loss=0.94, accuracy=0.77, phase="train")
print(run.flush(until="spooled").shed, flush=True)
sys.stdin.readline()
run.finish()
"""


class BenchNode:
    """Directories of its own below a temporary one."""

    def __init__(self) -> None:
        self.root = scratch()
        self.config("")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")}
        self.env |= {
            "LOGFERRY_NODE_DIR": str(self.root / "node"),
            "LOGFERRY_HOME": str(self.root / "home"),
            "LOGFERRY_CONFIG": str(self.root / "logferry.toml"),
        }
        self.node = NodeDir(self.root / "node")
        self.settings = load(self.env)
        self.agent: subprocess.Popen[bytes] | None = None

    def config(self, text: str) -> None:
        (self.root / "logferry.toml").write_text(text)

    def start_agent(self) -> float:
        """Start an agent; return how many seconds it took until it answered."""
        began = time.perf_counter()
        log = (self.root / "agent.log").open("ab")
        command = [sys.executable, "-m", "logferry", "agent"]
        self.agent = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
        log.close()
        while self.status() is None:
            if self.agent.poll() is not None:
                raise SystemExit(f"the agent did not start: {(self.root / 'agent.log').read_text()}")
            time.sleep(0.005)
        return time.perf_counter() - began

    def status(self) -> dict[str, Any] | None:
        return ask(self.settings, "status", {})

    def wait_until(self, level: str, events: int) -> float:
        """Return when that many events were `durable` or `written`."""
        while True:
            status = self.status()
            if status and sum(one[level] for one in status["producers"]) >= events:
                return time.perf_counter()
            time.sleep(0.02)

    def logs(self) -> list[Path]:
        return sorted((self.root / "home" / "logs").glob("*/*/*.jsonl"))

    def fill(self, producers: int, events: int) -> list[subprocess.Popen[bytes]]:
        """Start producers that spool `events` events each, and wait until they have."""
        started = [
            subprocess.Popen(
                [sys.executable, "-c", PRODUCER, f"run{number}", str(events)],
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for number in range(producers)
        ]
        for one in started:
            shed = int(one.stdout.readline())
            if shed:
                raise SystemExit(f"{shed} events were shed: the disk has too little room for this measurement")
        return started

    def cpu_s(self) -> float:
        """Return the agent's processor time so far."""
        fields = Path(f"/proc/{self.agent.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Return the most memory that the agent has used so far."""
        lines = Path(f"/proc/{self.agent.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def resident_bytes(self) -> int:
        """Return how much memory the agent uses now."""
        return resident_bytes(Path(f"/proc/{self.agent.pid}/status"))

    def stop_agent(self) -> None:
        if self.agent is not None:
            self.agent.send_signal(signal.SIGTERM)
            self.agent.wait(60)
            self.agent = None

    def kill_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
            self.agent = None

    def close(self) -> None:
        self.stop_agent()
        subprocess.run(["rm", "-rf", self.root], check=True)
