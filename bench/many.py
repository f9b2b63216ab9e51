"""A node with many producers, each a forked process of its own, that log together when told to."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import NamedTuple

from measure import percentile
from node import BenchNode

# All is loaded before the forks, as by a program that logs itself. Says a line per process when all are there, and
# again, with what it has shed, when one has logged: each byte of the input has one process wake up ten times a second,
# and log so many events each time.
PROCESSES = """
import os, sys, time, logferry, logferry.shipper
count, seconds = int(sys.argv[1]), float(sys.argv[2])
children = []
for number in range(count):
    pid = os.fork()
    if pid == 0:
        run = logferry.init("many", run_id=f"run{os.getpid()}")
        run.flush(until="durable", timeout=60)
        os.write(1, b"0\\n")
        while at_once := os.read(0, 1):
            began = time.monotonic() + number / count / 10
            for step in range(int(seconds * 10)):
                time.sleep(max(0.0, began + step / 10 - time.monotonic()))
                for _ in range(at_once[0]):
                    run.info("EpochEnd", sent_ns=time.time_ns(), epoch=step, batch=42, loss=0.94, phase="train")
            os.write(1, b"%d\\n" % run.flush(until="spooled").shed)
        os._exit(0)
    children.append(pid)
os.close(0)
for pid in children:
    os.waitpid(pid, 0)
"""


class Logged(NamedTuple):
    """What it came to that all logged: `waits_ms` is from each call until its event was seen to be written."""

    shed: int
    waits_ms: list[float]
    agent_us: float  # processor time of the agent for an event, with its answers to who asks what is written

    @property
    def p99_ms(self) -> float:
        return percentile(self.waits_ms, 0.99)


_Polls = list[tuple[int, dict[str, int]]]


class Seen(NamedTuple):
    """What was seen while all logged, from `began_ns` to `ended_ns`: a list of who had how much written when."""

    began_ns: int
    ended_ns: int
    shed: int
    polls: _Polls
    agent_s: float


class Many:
    """`count` processes that have said hello to an agent of their own, and log for `seconds` each time."""

    def __init__(self, count: int, seconds: float) -> None:
        self.node, self._count = BenchNode(), count
        self.node.start_agent()
        self.empty_bytes = self.node.resident_bytes()
        self._processes = subprocess.Popen(
            [sys.executable, "-c", PROCESSES, str(count), str(seconds)],
            env=self.node.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._answers()

    def log(self, at_once: int) -> Logged:
        """Have each wake up ten times a second and log so many events each time; return once all are written."""
        return self.evaluated(self.watch(at_once))

    def watch(self, at_once: int) -> Seen:
        """The same, for `evaluated` to work out later what takes its time."""
        assert self._processes.stdin
        began_ns, cpu_s = time.time_ns(), self.node.cpu_s()
        self._processes.stdin.write(bytes([at_once]) * self._count)
        self._processes.stdin.flush()
        polls, shed = self._polls()
        return Seen(began_ns, time.time_ns(), shed, polls, self.node.cpu_s() - cpu_s)

    def evaluated(self, seen: Seen) -> Logged:
        waits_ms = self._waits_ms(seen)
        return Logged(seen.shed, waits_ms, seen.agent_s / len(waits_ms) * 1e6)

    def close(self) -> None:
        """End all of them as if the node lost its power: an end in good order takes half a minute, and nobody asks."""
        self.node.kill_agent()
        self._processes.communicate()
        self.node.close()

    def _answers(self) -> int:
        """Return the sum of what each says next."""
        assert self._processes.stdout
        return sum(int(self._processes.stdout.readline()) for _ in range(self._count))

    def _polls(self) -> tuple[_Polls, int]:
        """Ask what is written until all have logged and all of it is; return what was shed too."""
        polls: _Polls = []
        shed: list[int] = []
        waiting = threading.Thread(target=lambda: shed.append(self._answers()))
        waiting.start()
        while True:
            ended = not waiting.is_alive()
            status = self.node.status()
            if status is None:  # too busy to answer in time
                continue
            rows = status["producers"]
            polls.append((time.time_ns(), {row["producer"]: row["written"] for row in rows}))
            if ended and all(row["written"] >= row["durable"] == row["expected"] - 1 for row in rows):
                return polls, shed[0]
            time.sleep(0.1)

    def _waits_ms(self, seen: Seen) -> list[float]:
        waits, polls = [], seen.polls
        for path in self.node.logs():
            place = 0
            for line in path.open("rb"):
                event = json.loads(line)
                if not seen.began_ns <= event.get("sent_ns", 0) < seen.ended_ns:
                    continue
                producer, _, number = event["seq"].rpartition("-")
                while place < len(polls) and polls[place][1].get(producer, 0) < int(number):
                    place += 1
                if place < len(polls):
                    waits.append((polls[place][0] - event["sent_ns"]) / 1e6)
        return waits
