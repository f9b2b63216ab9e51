"""What runs in a soak: places, which hold one job after the other, and services, which come back whatever ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from oracle import WORDS_PER_JOB, Job

_ENDS = {"finish": (1, 0, "COMPLETED"), "fail": (2, 1, "FAILED")}  # verb → (word in the notes, exit code, status)
_AGAIN_S = 0.3
_POINT = "LOGFERRY_KILL_POINT"
_PATIENCE_S = 60.0


class Jobs:
    """All jobs of a soak, and where they keep their notes."""

    def __init__(self, root: Path, notes: memoryview, burst: int, environment: Callable[[int], dict[str, str]]) -> None:
        self.all: list[Job] = []
        self.unexpected: list[str] = []
        self.notes = notes
        self._root, self._burst, self._environment = root, burst, environment
        (root / "jobs").mkdir()

    def begin(self, kind: str, skew_s: int, point: str) -> tuple[Job, subprocess.Popen[bytes]]:
        job = Job(f"r{len(self.all):04d}", len(self.all) * WORDS_PER_JOB)
        self.all.append(job)
        command = [sys.executable, str(Path(__file__).with_name("job.py")), job.run, str(self._root / "notes")]
        with self.errors_of(job).open("wb") as log:
            # A session of its own: forked children are killed with it.
            return job, subprocess.Popen(
                [*command, str(job.first), kind, str(self._burst)],
                env=self._environment(skew_s) | ({_POINT: point} if point else {}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def errors_of(self, job: Job) -> Path:
        return self._root / "jobs" / f"{job.run}.err"


class Place:
    """One job at a time; `follow` ends it in some way and says which comes next."""

    def __init__(self, jobs: Jobs) -> None:
        self.kills = self.named = 0
        self._jobs = jobs
        self._job: Job | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._next: tuple[str, int, str] | None = None
        self._is_armed = False
        self._asked = ""

    def follow(self, verb: str, kind: str, skew_s: int, point: str) -> None:
        self._next = kind, skew_s, point
        if verb == "kill":
            self.kill()
        elif verb in _ENDS and self._job and not self._asked:
            self._asked = verb
            self._jobs.notes[self._job.first] = _ENDS[verb][0]

    def tick(self) -> None:
        """Begin the next job where the last one has ended."""
        if self._process and (self._asked or self._is_armed) and _is_over(self._process):
            self._end(self._process)
        if self._next and not self._process:
            self._is_armed = bool(self._next[2])
            (self._job, self._process), self._next = self._jobs.begin(*self._next), None

    def kill(self) -> None:
        if self._process:
            self.kills += 1
            self._end(self._process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the job with all of its children, and note what its result may say."""
        by_itself = self._is_armed and _is_over(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        job, code, asked = self._job, process.wait(), self._asked
        assert job
        said = self._jobs.errors_of(job).read_text(errors="replace")
        job.in_memory = "kept in memory" in said
        _, expected, status = _ENDS.get(asked, (0, None, "KILLED"))
        if code == expected:
            job.ends.add(status)
        elif code == -signal.SIGKILL:
            job.ends |= {"KILLED", status}
            if by_itself:
                self.named += 1
                # A child that joined while it was dead has taken the run over, and ended it as it was told.
                job.ends.add("COMPLETED")
        else:
            self._jobs.unexpected.append(f"{job.run} ended with {code}: {said[-2000:]}")
        self._job, self._process, self._asked, self._is_armed = None, None, "", False

    def end(self) -> None:
        self._next = None
        self.resume()
        self.kill()

    def orphan(self) -> None:
        """Kill the job's first process only; its children log on until the place's job is ended."""
        if self._process and self._job:
            os.kill(self._process.pid, signal.SIGKILL)  # Popen's own way would reap it
            self.kills += 1
            self._is_armed = False
            # A child that joins later may take the run over, and end it as it is told.
            self._job.ends |= {"KILLED", "COMPLETED"}

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a process has ended, without reaping it: its number stays its own, and its group's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class Service:
    """The agent, or the collector."""

    def __init__(self, verb: str, root: Path, env: dict[str, str]) -> None:
        self.kills = self.named = 0
        self.unexpected: list[str] = []
        self._point, self._is_armed = "", False
        self._verb, self._log, self._env = verb, root / f"{verb}.log", env
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        self._asked = False

    def tick(self, *, excused: bool) -> None:
        """Start it where it has ended, however that was; `excused`: a disk is full, so none may be able to."""
        if self._process and self._process.poll() is not None:
            if not self._asked and self._is_armed and self._process.returncode == -signal.SIGKILL:
                self.named += 1
            elif not self._asked and not excused:
                self.unexpected.append(f"{self._verb} ended by itself with {self._process.returncode}, see {self._log}")
            self._process, self._asked = None, False
            self._start_at = max(self._start_at, time.monotonic() + _AGAIN_S * excused)
        if self._process is None and time.monotonic() >= self._start_at:
            with self._log.open("ab") as log:
                command = [sys.executable, "-m", "logferry", self._verb]
                env = self._env | ({_POINT: self._point} if self._point else {})
                self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            self._is_armed, self._point, self._asked = bool(self._point), "", False

    def kill(self, away_s: float, point: str = "") -> None:
        """Kill it; when it is back, it ends itself at the point, if one is given."""
        self._end_by(signal.SIGKILL)
        self.kills += 1
        self._point = point
        self._start_at = time.monotonic() + away_s

    def disarm(self) -> None:
        if self._is_armed or self._point:
            self.kill(0)

    def drain(self) -> None:
        self._end_by(signal.SIGTERM)

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> bool:
        """End it for good; say whether it did so by itself."""
        if self._process is None:
            return True
        self.drain()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
            return True
        self._process.kill()
        self._process.wait()
        return False

    def _end_by(self, number: int) -> None:
        self._asked = True
        self._signal(number)

    def _signal(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)
