"""`make soak`: jobs, agent and collector killed, stopped and restarted, disks filled, clocks moved, levels changed.

Reading order: schedule.py (what is done, from the seed), this (does it), place.py (to whom), job.py (what runs there),
disk.py and clock.py (how), oracle.py (what became of it). One line says what was found, and the seed to repeat it.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import disk
from clock import Clock
from oracle import WORDS_PER_JOB, Verdict, documents_of, judge, judge_store
from place import Jobs, Place, Service
from schedule import DISKS, PLACES, SERVICES, Action, schedule

SETTLE_S = 120.0
# What no service should ever have to say.
_NEVER = ("Traceback", "please report", "CRITICAL", "cannot be read")
# What a kill in the middle of a call leaves is kept, and said.
_TORN = "/journal/bad/spool-"
# So that files rotate, segments roll, checkpoints are many and a spool is full soon without an agent.
_CONFIG = """spool_bytes = 4000000
[agent]
rotate_bytes = 1000000
rotate_age_s = 600
journal_segment_bytes = 1000000
checkpoint_s = 0.2
final_after_s = 5
[collector]
rescan_s = 1
"""


class Soak:
    """One soak below one directory."""

    def __init__(self, actions: list[Action], burst: int, no_disks: str) -> None:
        self.actions = actions
        self.root = Path(tempfile.mkdtemp(prefix="lf-soak-"))
        self.home, self.clock = self.root / "home", Clock(self.root)
        config = self.root / "logferry.toml"
        config.write_text(_CONFIG)
        env = {name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")}
        env |= {"LOGFERRY_NODE_DIR": str(self.root / "node"), "LOGFERRY_HOME": str(self.home)}
        self.env = env | {"LOGFERRY_CONFIG": str(config)} | self.clock.environment()
        paths = {name: self.root / ("node" if name == "node" else f"home/{name}") for name in DISKS}
        self.disks = {} if no_disks else {name: disk.Disk(path) for name, path in paths.items()}
        self.full: set[str] = set()
        notes = self.root / "notes"
        notes.write_bytes(bytes(8 * WORDS_PER_JOB * len(self.actions)))
        with notes.open("r+b") as file:
            self.notes = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self.services = {verb: Service(verb, self.root, self.env) for verb in SERVICES}
        self.jobs = Jobs(self.root, self.notes, burst, lambda skew_s: self.env | self.clock.environment(skew_s))
        self.places = [Place(self.jobs) for _ in range(PLACES)]
        self.verbs: list[subprocess.Popen[bytes]] = []

    @property
    def kills(self) -> int:
        return sum(one.kills for one in [*self.places, *self.services.values()])

    @property
    def named(self) -> int:
        """How many ended themselves at a point of the code that has a name."""
        return sum(one.named for one in [*self.places, *self.services.values()])

    def run(self) -> bool:
        """Do everything, in time or later; then let it settle, and say whether it did."""
        began = time.monotonic()
        for action in self.actions:
            while time.monotonic() < began + action.at_s:
                self.tick()
                time.sleep(0.01)
            self.do(action)
        for place in self.places:
            place.end()
        for name in list(self.full):
            self.empty(name)
        self.clock.shift(0)
        return self.settle()

    def tick(self) -> None:
        for service in self.services.values():
            service.tick(excused=bool(self.full))
        if "node" not in self.full:
            for place in self.places:
                place.tick()

    def do(self, action: Action) -> None:
        place = self.places[int(action.target)] if action.target.isdigit() else None
        if action.verb in {"begin", "kill", "finish", "fail"} and place:
            place.follow(action.verb, action.kind, action.number, action.point)
        elif action.verb in {"orphan", "stop", "resume"}:
            getattr(place or self.services[action.target], action.verb)()
        elif action.verb == "kill service":
            self.services[action.target].kill(action.for_s, action.point)
        elif action.verb == "drain":
            self.services[action.target].drain()
        elif action.verb == "fill":
            for name in self.disks if action.target == "all" else self.disks.keys() & {action.target}:
                self.disks[name].fill()
                self.full.add(name)
        elif action.verb == "empty":
            for name in list(self.full):
                self.empty(name)
        elif action.verb == "shift":
            self.clock.shift(action.number)
        elif action.verb == "level":
            self.verb("level", "soak", action.target)

    def empty(self, name: str) -> None:
        self.disks[name].empty()
        self.full.discard(name)

    def verb(self, *arguments: str) -> None:
        with (self.root / "verbs.log").open("ab") as log:
            command = [sys.executable, "-m", "logferry", *arguments]
            self.verbs.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))

    def settle(self) -> bool:
        """Wait until every spool is adopted, every result final and every row in the store; then end the services."""
        end = time.monotonic() + SETTLE_S
        for service in self.services.values():
            service.resume()
            service.disarm()
        while not (settled := self.is_settled()) and time.monotonic() < end:
            self.tick()
            time.sleep(0.2)
        ended = [service.end() for service in self.services.values()]
        return settled and all(ended)

    def is_settled(self) -> bool:
        if list((self.root / "node" / "spool").glob("[!.]*")):
            return False
        excused = {job.run for job in self.jobs.all if job.in_memory}
        documents = documents_of(self.home)
        if any(document["status"] == "RUNNING" for run, document in documents.items() if run not in excused):
            return False
        rows = Verdict()
        judge_store(self.home, documents, rows)
        return not rows.says

    def unexpected(self) -> list[str]:
        """Return what processes came to, or said, that they never should."""
        said = [said for service in self.services.values() for said in service.unexpected]
        for path in self.root.glob("*.log"):
            text = "".join(line for line in path.open(errors="replace") if _TORN not in line)
            said += [f"{path} says {word!r}" for word in _NEVER if word in text]
        return [*self.jobs.unexpected, *said]

    def disagreements(self) -> list[str]:
        """Return the runs of which `logferry verify` says something else than the oracle, where that finds no fault."""
        command = [sys.executable, "-m", "logferry", "verify", "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        excused = {job.run for job in self.jobs.all if job.in_memory}
        runs = {run["run_id"]: run for run in json.loads(done.stdout)["runs"] if run["run_id"] not in excused}
        wrong = []
        for name, run in runs.items():
            faults = run["faults"] or any(one["missing"] or one["repeated"] for one in run["producers"])
            if faults or run["complete"] != (not any(one["shed"] for one in run["producers"])):
                wrong.append(f"verify of {name}: {json.dumps(run)[:500]}")
        return wrong

    def close(self) -> None:
        for place in self.places:
            place.end()
        for service in self.services.values():
            service.kill(0)
        for verb in self.verbs:
            verb.wait(60)

    def remove(self) -> None:
        for one in self.disks.values():
            one.remove()
        shutil.rmtree(self.root)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of disturbance; then it settles")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--burst", type=int, default=10_000, help="how many events a loud job logs without a rest")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    no_disks = disk.enter_namespace(*(f"--{key}={value}" for key, value in {**vars(options), "seed": seed}.items()))
    soak = Soak(schedule(seed, options.seconds), options.burst, no_disks)
    try:
        settled = soak.run()
        verdict = judge(soak.home, soak.jobs.all, soak.notes)
        verdict.says += [] if verdict.says else soak.disagreements()
    finally:
        soak.close()
    says = [*([] if settled else [f"not settled within {SETTLE_S:.0f} s"]), *soak.unexpected(), *verdict.says]
    done = Counter(action.verb for action in soak.actions)
    disks = f"fills={done['fill']}" if not no_disks else f"fills=left out ({no_disks})"
    print(
        f"soak seed={seed} seconds={options.seconds:.0f} runs={len(soak.jobs.all)} kills={soak.kills} "
        f"named={soak.named} stops={done['stop']} {disks} shifts={done['shift']} levels={done['level']} "
        f"{verdict} settled={'yes' if settled else 'no'}"
    )
    if says:
        kept = shutil.copytree(soak.root, f"{soak.root}-kept", symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        print("\n".join([*says[:40], f"{len(says)} violations; its files are kept in {kept}"]))
    soak.remove()
    return 1 if says else 0


if __name__ == "__main__":
    sys.exit(main())
