"""Processes that end themselves at a named point, and what must be in the files afterwards."""

from __future__ import annotations

import io
import json
import mmap
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import zstandard

from support.node import Node, wait_for

VARIABLE = "LOGFERRY_KILL_POINT"
# Small enough that a few hundred events roll, rotate, compress and trim everything.
CONFIG = """[agent]
journal_segment_bytes = 65536
rotate_bytes = 20000
checkpoint_s = 0.05
final_after_s = 0
"""
# After each call its number is in shared memory outside of the process: one store of eight bytes.
JOB = """
import mmap, os, sys, time
with open(sys.argv[3], "r+b") as file:
    notes = memoryview(mmap.mmap(file.fileno(), 24)).cast("Q")
import logferry
kind, run_id = sys.argv[1:3]

def tick(run, numbers, pause_s=0.0):
    for number in numbers:
        run.info("Tick", number=number, text="x" * 100)
        notes[0] = number
        time.sleep(pause_s) if pause_s else None

run = logferry.init("kill", run_id=run_id)
if kind == "steady":
    number = 1
    while not os.path.exists(sys.argv[3] + ".stop"):
        tick(run, [number], 0.005)
        number += 1
elif kind == "fork":
    tick(run, range(1, 11))
    pid = os.fork()
    if pid == 0:
        run.info("FromChild")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -9:
        sys.exit("the child passed its point")
else:
    tick(run, range(1, 401))
    run.result({"half": 1})
    notes[1] = 1
    tick(run, range(401, 701))
    run.flush("durable" if kind == "shipped" else "spooled", timeout=20)  # segments go when they are acked
    if kind == "killed":
        os.kill(os.getpid(), 9)
run.finish()
notes[2] = 1
time.sleep(60) if kind == "lingers" else None
"""


class Job:
    """One job with a run of its own, and what it noted."""

    def __init__(self, node: Node, kind: str, run: str, point: str = "") -> None:
        self.node, self.kind, self.run = node, kind, run
        self.path = node.root / f"{run}.{len(node.processes)}.notes"
        self.path.write_bytes(bytes(24))
        env = node.env | ({VARIABLE: point} if point else {})
        command = [sys.executable, "-c", JOB, kind, run, str(self.path)]
        with (node.root / "jobs.err").open("ab") as errors:
            self.process = subprocess.Popen(command, env=env, stderr=errors)
        node.processes.append(self.process)

    def notes(self) -> tuple[int, bool, bool]:
        """Return how many calls returned, whether `result` did, and whether `finish` did."""
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 24, access=mmap.ACCESS_READ) as shared:
            ticks, result, finish = (int.from_bytes(shared[at : at + 8], sys.byteorder) for at in (0, 8, 16))
        return ticks, bool(result), bool(finish)

    def stop(self) -> None:
        self.path.with_name(self.path.name + ".stop").touch()

    def check(self) -> None:
        """Look for every call that returned, once and in order, and for the run's result."""
        ticks, result, finish = self.notes()
        found = [line["number"] for line in lines_of(self.node, self.run) if line["event"] == "Tick"]
        gone = pruned(self.node, self.run)
        if gone:  # numbers are all that is left of some lines
            seqs = sorted(gone + [number_of(line) for line in lines_of(self.node, self.run)])
            seqs = [number for number in seqs if number]
            assert seqs == list(range(1, len(seqs) + 1)), (self.run, gaps(seqs))
            assert len(seqs) > ticks
        else:
            # The call in which the process died may have been kept without having returned.
            assert found == list(range(1, len(found) + 1)), (self.run, gaps(found))
            assert len(found) - ticks in {0, 1}, (self.run, len(found), ticks)
        path = self.node.home / "results" / "kill" / f"{self.run}.json"
        document = json.loads(path.read_bytes())
        assert document["status"] in ({"COMPLETED"} if finish else {"COMPLETED", "KILLED"}), (self.run, document)
        assert not result or document["metrics"].get("half") == 1, (self.run, document)


def gaps(numbers: list[int]) -> list[tuple[int, int]]:
    """Return where numbers do not follow each other, to be read by a person."""
    return [(a, b) for a, b in zip([0, *numbers], numbers, strict=False) if b != a + 1][:20]


def lines_of(node: Node, run: str, experiment: str = "kill") -> list[dict[str, Any]]:
    """Return a run's whole lines: rotated files by number, then the current one. Without any of logferry's code."""
    while True:
        try:
            return _lines_in(node.home / "logs" / experiment / run)
        except FileNotFoundError:  # renamed, or compressed, since it was listed
            continue


def _lines_in(directory: Path) -> list[dict[str, Any]]:
    def order(path: Path) -> tuple[int, int]:
        rotated = re.search(r"\.\d{8}T\d{6}\w*-(\d+)\.jsonl", path.name)
        return (0, int(rotated[1])) if rotated else (1, 0)

    paths = [path for path in directory.glob("[!.]*") if ".jsonl" in path.name] if directory.exists() else []
    found: list[dict[str, Any]] = []
    for path in sorted(paths, key=order):
        data = path.read_bytes()
        if path.suffix == ".zst":
            # Both names may be there between two steps of a compression, and one of them gone a moment later.
            if path.with_suffix("") in paths:
                continue
            data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
        found += [json.loads(line) for line in data.split(b"\n")[:-1]]  # a write may be under way
    return found


def number_of(line: dict[str, Any]) -> int:
    """Return the number of a run's line, 0 for one of the agent's own."""
    producer, _, number = line["seq"].rpartition("-")
    return 0 if producer == "agent" else int(number)


def pruned(node: Node, run: str) -> list[int]:
    """Return the numbers that removed files held, each file once."""
    files: dict[str, list[int]] = {}
    for path in (node.home / "logs" / "kill" / run).glob("*.pruned"):
        for line in map(json.loads, filter(None, path.read_bytes().splitlines())):
            ranges = [span for spans in line["producers"].values() for span in spans]
            files[line["file"].removesuffix(".zst")] = [n for first, last in ranges for n in range(first, last + 1)]
    return [number for numbers in files.values() for number in numbers]


def service(node: Node, verb: str, point: str = "") -> subprocess.Popen[bytes]:
    """Start a service, armed with a point where one is given."""
    with (node.root / f"{verb}.log").open("ab") as log:
        command = [sys.executable, "-m", "logferry", verb]
        process = subprocess.Popen(command, env=node.env | ({VARIABLE: point} if point else {}), stdout=log, stderr=log)
    node.processes.append(process)
    return process


def dies(process: subprocess.Popen[bytes], point: str) -> None:
    """Wait until a process has died at its point: nobody else kills it."""
    try:
        code = process.wait(40)
    except subprocess.TimeoutExpired:
        code = None
    assert code == -signal.SIGKILL, f"{point}: never reached, ended with {code}"


def settle(node: Node, jobs: list[Job], agent: subprocess.Popen[bytes]) -> None:
    """Let the agent bring everything into the files, and look at them."""
    spool = node.dir / "spool"
    for job in jobs:
        if job.kind == "steady":
            job.stop()
            assert job.process.wait(40) == 0
    wait_for("all spools are adopted", lambda: spool.exists() and not list(spool.glob("[!.]*")))
    wait_for("all results are final", lambda: not unfinished(node))
    assert node.stop(agent) == 0, node.said_by("agent")
    for job in jobs:
        job.check()
    verdict = node.asked("verify")
    assert verdict["complete"], [run for run in verdict["runs"] if not run["complete"]]
    rows = [(row["run_id"], row["status"]) for row in node.asked("results")]
    assert sorted(rows) == sorted(statuses(node).items())


def statuses(node: Node) -> dict[str, str]:
    paths = (node.home / "results" / "kill").glob("[!.]*.json")
    return {path.stem: json.loads(path.read_bytes())["status"] for path in paths if ".part-" not in path.name}


def unfinished(node: Node) -> list[str]:
    return [run for run, status in statuses(node).items() if status == "RUNNING"]
