"""`logferry demo`: 30 training jobs in parallel, one killed, one failing; then what is left of them, checked.

Everything is real: an agent, a collector, processes, a SIGKILL. What is shown afterwards is the output of the same
commands that a user types, and `check` compares it with what the jobs' own result files say.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from logferry.cli import FINE, NO, Parser, UsageError

LEARNING_RATES, BATCH_SIZES, SEEDS = (0.05, 0.2), (16, 64, 256), (1, 2, 3, 4, 5)
EPOCHS, KILL_AFTER_EPOCH, FAIL_AT_EPOCH = 30, 3, 7
# Which jobs meet their fate: places in the sweep, so that no group of seeds loses two.
KILLED_JOB, FAILED_JOB = 7, 22
_PATIENCE_S = 120.0


def demo(arguments: list[str]) -> int:
    """Run the verb: 0 when everything that it shows was checked and holds."""
    parser = Parser("demo")
    parser.add_argument("--dir", type=Path, help="where its files go; by default a new directory for temporary files")
    options = parser.parse_args(arguments)
    root = (options.dir or Path(tempfile.mkdtemp(prefix="logferry-demo-"))).absolute()
    if options.dir and root.exists() and any(root.iterdir()):
        raise UsageError(f"demo: {root} is not empty; name a directory that does not exist yet")
    sweep = Sweep(root)
    try:
        sweep.start()
        sweep.watch()
        problems = sweep.finish_and_show()
    finally:
        sweep.clean_up()
    for problem in problems:
        print(f"NOT TRUE: {problem}")
    return NO if problems else FINE


class Sweep:
    """One demo: its directories, its services and its jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")},
            "LOGFERRY_NODE_DIR": str(root / "node"),
            "LOGFERRY_HOME": str(root / "home"),
            # 30 jobs on a few cores: each with one thread.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "COLUMNS": os.environ.get("COLUMNS", "120"),
        }
        self.services: list[subprocess.Popen[bytes]] = []
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}
        self.killed = self.failed = ""
        self.runs = self.root / "home" / "logs" / "digits"

    def start(self) -> None:
        """Start agent, collector and all jobs."""
        data = self.root / "digits.npz"
        self.root.mkdir(parents=True, exist_ok=True)
        prepare_data(data)
        (self.root / "services.log").touch()
        for verb in ("agent", "collector"):
            log = (self.root / "services.log").open("ab")
            self.services.append(subprocess.Popen(_logferry(verb), env=self.env, stdout=log, stderr=log))
            log.close()
        self._wait("the agent is up", lambda: self._ask("status").returncode == FINE)
        grid = list(itertools.product(LEARNING_RATES, BATCH_SIZES, SEEDS))
        for number, (rate, size, seed) in enumerate(grid):
            run_id = f"lr{rate}-bs{size}-s{seed}"
            if number == KILLED_JOB:
                self.killed = run_id
            elif number == FAILED_JOB:
                self.failed = run_id
            self.jobs[run_id] = self._job(data, run_id, rate, size, seed)
        print(f"{len(self.jobs)} jobs train in parallel; their files are in {self.root}", flush=True)

    def _job(self, data: Path, run_id: str, rate: float, size: int, seed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "logferry.demo.train", f"--data={data}", f"--run-id={run_id}"]
        command += [f"--learning-rate={rate}", f"--batch-size={size}", f"--seed={seed}"]
        # The one that is to be killed would otherwise be done before the others have started.
        command += [f"--epochs={EPOCHS * 1000 if run_id == self.killed else EPOCHS}"]
        command += [f"--fail-at-epoch={FAIL_AT_EPOCH}"] if run_id == self.failed else []
        with (self.root / "jobs.log").open("ab") as log:
            return subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def watch(self) -> None:
        """Show progress until all jobs have ended; kill the one that is to be killed on the way."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - a demo's extra

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, disable=not sys.stdout.isatty()) as progress:
            ended = progress.add_task("jobs ended", total=len(self.jobs))
            lines = progress.add_task("epochs written to running logs", total=(len(self.jobs) - 2) * EPOCHS)
            deadline = time.monotonic() + _PATIENCE_S
            while any(job.poll() is None for job in self.jobs.values()):
                if time.monotonic() > deadline:
                    raise UsageError(f"demo: the jobs did not end within {_PATIENCE_S:.0f} s; see {self.root}")
                if self.jobs[self.killed].poll() is None and self._epochs(self.killed) >= KILL_AFTER_EPOCH:
                    self.jobs[self.killed].send_signal(signal.SIGKILL)
                progress.update(ended, completed=sum(job.poll() is not None for job in self.jobs.values()))
                progress.update(lines, completed=sum(self._epochs(run) for run in self.jobs))
                time.sleep(0.2)
            progress.update(ended, completed=len(self.jobs))
            progress.update(lines, completed=sum(self._epochs(run) for run in self.jobs))

    def _epochs(self, run: str) -> int:
        return sum(path.read_bytes().count(b'"event":"EpochEnd"') for path in (self.runs / run).glob("*.jsonl"))

    def finish_and_show(self) -> list[str]:
        """Let the services take in the rest, show what there is, and return what of it is not true."""
        self._stop_services()
        self._ask("collector", "--once")
        print(f"\nOne job was killed (SIGKILL): {self.killed}; one failed by an exception: {self.failed}")
        self._show("logs", f"digits/{self.failed}", "--level", "info", "-n", "5")
        self._show("logs", f"digits/{self.killed}", "--all", "-n", "4")
        self._show("verify")
        columns = "run_id,status,config.learning_rate,config.batch_size,config.seed,metrics.test_accuracy"
        self._show("results", "--sort", "metrics.test_accuracy", "--desc", "--limit", "12", "--columns", columns)
        grouped = ["--group-by", "config.learning_rate,config.batch_size", "--over", "config.seed"]
        self._show("results", 'status = "COMPLETED"', *grouped, "--columns", "metrics.test_accuracy")
        problems = check(self)
        print("\nWhere the files are:")
        for name, what in (("home/logs", "running logs"), ("home/results", "results"), ("home/store", "results store")):
            print(f"  {what:<14} {self.root / name}")
        print(f"  {'node':<14} {self.root / 'node'}")
        if not problems:
            print("\nEverything above was checked against the files: nothing lost, nothing twice, nothing running.")
        return problems

    def _show(self, *arguments: str) -> None:
        print(f"\n$ logferry {shlex.join(arguments)}", flush=True)
        subprocess.run(_logferry(*arguments), env=self.env, check=False)

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(_logferry(*arguments), env=self.env, check=False, capture_output=True)

    def asked(self, *arguments: str) -> Any:
        """Return what a verb says with --json."""
        return json.loads(self._ask(*arguments, "--json").stdout or b"null")

    def _wait(self, what: str, condition: Any) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            if time.monotonic() > deadline:
                raise UsageError(f"demo: waited in vain until {what}; see {self.root}/services.log")
            time.sleep(0.05)

    def _stop_services(self) -> None:
        for service in self.services:
            if service.poll() is None:
                service.send_signal(signal.SIGTERM)
        for service in self.services:
            service.wait(30)

    def clean_up(self) -> None:
        """Leave nothing running."""
        for process in [*self.jobs.values(), *self.services]:
            if process.poll() is None:
                process.kill()
            process.wait()


def check(sweep: Sweep) -> list[str]:
    """Return what does not hold of what was shown, recomputed from the files."""
    problems = []
    documents = {
        path.stem: json.loads(path.read_text()) for path in (sweep.root / "home/results/digits").glob("*.json")
    }
    expected = dict.fromkeys(sweep.jobs, "COMPLETED") | {sweep.killed: "KILLED", sweep.failed: "FAILED"}
    found = {run: document["status"] for run, document in documents.items()}
    if found != expected:
        wrong = {run: found.get(run) for run in expected if found.get(run) != expected[run]}
        problems.append(f"statuses in the result files: {wrong}")
    stored = {row["run_id"]: row["status"] for row in sweep.asked("results")}
    if stored != expected:
        problems.append(f"the store does not say what the result files say: {len(stored)} rows")
    verdicts = {one["run_id"]: one["complete"] for one in sweep.asked("verify")["runs"]}
    problems += [f"the running log of {run} is not complete" for run in expected if not verdicts.get(run)]
    return problems + check_killed(sweep) + check_groups(sweep, documents)


def check_killed(sweep: Sweep) -> list[str]:
    """The killed job logged at full speed: its numbered lines have no gap, and the seal knows the last of them."""
    lines = [json.loads(line) for path in (sweep.runs / sweep.killed).glob("*.jsonl") for line in path.open()]
    numbers = [int(line["seq"].rpartition("-")[2]) for line in lines if not line["seq"].startswith("agent-")]
    seals = [line for line in lines if line["event"] == "logferry.seal"]
    if numbers != list(range(1, len(numbers) + 1)):
        return [f"the lines of {sweep.killed} are not numbered without a gap"]
    if len(seals) != 1 or seals[0]["emitted"] != len(numbers) or seals[0]["end"] == "finished":
        return [f"the seal of {sweep.killed} does not fit its {len(numbers)} lines: {seals}"]
    return []


def check_groups(sweep: Sweep, documents: dict[str, Any]) -> list[str]:
    """Recompute mean and deviation over the seeds from the result files."""
    by_group: dict[tuple[float, int], list[float]] = {}
    for document in documents.values():
        if document["status"] == "COMPLETED":
            config = document["config"]
            key = (config["learning_rate"], config["batch_size"])
            by_group.setdefault(key, []).append(document["metrics"]["test_accuracy"])
    arguments = ["--group-by", "config.learning_rate,config.batch_size", "--over", "config.seed"]
    rows = sweep.asked("results", 'status = "COMPLETED"', *arguments)
    shown = {
        (row["learning_rate"], row["batch_size"]): (
            row["test_accuracy.mean"],
            row["test_accuracy.std"],
        )
        for row in rows or ()
    }
    problems = []
    for key, values in by_group.items():
        mean, std = statistics.fmean(values), statistics.stdev(values)
        told = shown.get(key)
        if told is None or abs(told[0] - mean) > 1e-9 or abs(told[1] - std) > 1e-9:
            problems.append(f"accuracy of {key} is {mean:.6f} ± {std:.6f}, shown was {told}")
    return problems


def prepare_data(path: Path) -> None:
    """Write scikit-learn's digits, shuffled and split, once for all jobs."""
    import numpy as np  # noqa: PLC0415 - a demo's extra
    from sklearn.datasets import load_digits  # noqa: PLC0415

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order] / 16, labels[order]
    np.savez(
        path,
        train_images=images[:1400],
        train_labels=labels[:1400],
        test_images=images[1400:],
        test_labels=labels[1400:],
    )


def _logferry(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "logferry", *arguments]
