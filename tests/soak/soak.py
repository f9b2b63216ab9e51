"""`make soak`: jobs, agent and collector killed, stopped and restarted at random; then an oracle reads the files.

The oracle imports none of logferry: it compares what each call had returned (shared memory outside of the processes)
with the JSON lines, and the result files with the store's own. One line says what it found, and the seed to repeat it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("alone", "threads", "forks", "processes", "tasks")
SLOTS_PER_JOB, MAX_JOBS = 3, 3000
AT_ONCE = 4
SETTLE_S = 120.0


class Soak:
    """One soak below one directory."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="lf-soak-"))
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")}
        self.env |= {"LOGFERRY_NODE_DIR": str(self.root / "node"), "LOGFERRY_HOME": str(self.root / "home")}
        config = self.root / "logferry.toml"
        config.write_text("[agent]\nrotate_bytes = 2000000\njournal_segment_bytes = 1000000\ncheckpoint_s = 0.2\n")
        self.env["LOGFERRY_CONFIG"] = str(config)
        self.notes_path = self.root / "notes"
        self.notes_path.write_bytes(bytes(8 * SLOTS_PER_JOB * MAX_JOBS))
        with self.notes_path.open("r+b") as file:
            self.notes = mmap.mmap(file.fileno(), 0)
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self.jobs: list[subprocess.Popen[bytes]] = []
        self.started = self.kills = 0

    def service(self, verb: str) -> None:
        with (self.root / f"{verb}.log").open("ab") as log:
            command = [sys.executable, "-m", "logferry", verb]
            self.services[verb] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def job(self) -> None:
        kind = self.random.choice(KINDS)
        arguments = [f"r{self.started}", str(self.notes_path), str(self.started * SLOTS_PER_JOB), kind]
        with (self.root / "jobs.log").open("ab") as log:
            command = [sys.executable, str(Path(__file__).with_name("job.py")), *arguments]
            # A session of its own: forked children are killed with it.
            self.jobs.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True))
        self.started += 1

    def kill_job(self, job: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        self.jobs.remove(job)
        self.kills += 1

    def restart(self, verb: str, number: int) -> None:
        self.services[verb].send_signal(number)
        self.services[verb].wait(40)
        self.kills += number == signal.SIGKILL
        self.service(verb)

    def stop_for_a_while(self, verb: str) -> None:
        self.services[verb].send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.1, 2.0))
        self.services[verb].send_signal(signal.SIGCONT)

    def step(self) -> None:
        """Do one thing at random."""
        while len(self.jobs) < AT_ONCE and self.started < MAX_JOBS:
            self.job()
        time.sleep(self.random.uniform(0.02, 0.6))
        what = self.random.random()
        if what < 0.55:
            self.kill_job(self.random.choice(self.jobs))
        elif what < 0.85:
            self.restart("agent", signal.SIGKILL)
        elif what < 0.93:
            self.restart("collector", signal.SIGKILL)
        elif what < 0.97:
            self.stop_for_a_while(self.random.choice(["agent", "collector"]))
        else:
            self.restart("agent", signal.SIGTERM)

    def run(self, seconds: float) -> bool:
        self.service("agent")
        self.service("collector")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
        for job in list(self.jobs):
            self.kill_job(job)
        return self.settle()

    def settle(self) -> bool:
        """Wait until every spool is adopted and every run's result is final."""
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            spools = list((self.root / "node" / "spool").glob("[!.]*"))
            if not spools and all(status != "RUNNING" for status in self.statuses().values()):
                break
            time.sleep(0.2)
        settled = time.monotonic() < end
        for verb in ("agent", "collector"):
            self.services[verb].send_signal(signal.SIGTERM)
            self.services[verb].wait(60)
        return settled

    def statuses(self) -> dict[str, str]:
        paths = (self.root / "home" / "results" / "soak").glob("[!.]*.json")
        return {path.stem: json.loads(path.read_bytes())["status"] for path in paths if ".part-" not in path.name}

    def verdict(self) -> dict[str, int]:
        """Compare the lines with what the calls returned."""
        found = dict.fromkeys(("events", "lost", "twice", "out_of_order", "invented", "results"), 0)
        slots: dict[int, list[int]] = {}
        for run in sorted((self.root / "home" / "logs" / "soak").iterdir()):
            for line in lines_of(run):
                if line["event"] == "Tick":
                    slots.setdefault(line["slot"], []).append(line["number"])
        for slot in range(self.started * SLOTS_PER_JOB):
            returned = int.from_bytes(self.notes[8 * slot : 8 * slot + 8], sys.byteorder)
            numbers = slots.get(slot, [])
            found["events"] += len(numbers)
            found["twice"] += len(numbers) - len(set(numbers))
            found["lost"] += len(set(range(1, returned + 1)) - set(numbers))
            # The call in which the process died may have been kept without having returned.
            found["invented"] += len(set(numbers) - set(range(1, returned + 2)))
            found["out_of_order"] += sum(after <= before for before, after in itertools.pairwise(numbers))
        begun = {run.name for run in (self.root / "home" / "logs" / "soak").iterdir()}
        found["results"] = sum(self.statuses().get(run) not in {"KILLED", "COMPLETED", "FAILED"} for run in begun)
        return found


def lines_of(run: Path) -> list[dict]:
    """Return a run's lines in order: rotated files by their number, then the current one."""

    def order(path: Path) -> tuple[int, int]:
        parts = path.name.split(".jsonl")[0].rpartition("-")
        return (0, int(parts[2])) if parts[2].isdigit() and "T" in parts[0] else (1, 0)

    found = []
    for path in sorted((path for path in run.iterdir() if ".jsonl" in path.name and path.name[0] != "."), key=order):
        data = path.read_bytes()
        if path.suffix == ".zst":
            data = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
        found += [json.loads(line) for line in data.splitlines()]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    soak = Soak(seed)
    try:
        settled = soak.run(options.seconds)
        found = soak.verdict()
        bad = {key: value for key, value in found.items() if key != "events" and value} or not settled
        figures = " ".join(f"{key}={value}" for key, value in found.items() if key != "results")
        print(
            f"soak seed={seed} seconds={options.seconds:.0f} runs={soak.started} kills={soak.kills} {figures} "
            f"runs_without_result={found['results']} settled={'yes' if settled else 'no'}"
        )
    finally:
        for process in [*soak.services.values(), *soak.jobs]:
            if process.poll() is None:
                process.kill()
            process.wait()
    if bad:
        print(f"its files are kept in {soak.root}")
        return 1
    shutil.rmtree(soak.root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
