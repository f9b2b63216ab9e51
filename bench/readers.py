"""Reading running logs: searching a large one, and verifying one, beside grep and beside a bare loop."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Figure

from logferry_agent.scan import Scan

WORDS = ["validation", "checkpoint", "gradient", "scheduler", "augmentation", "attention", "momentum", "dropout"]
NEEDLE = "needle-in-the-log"


def figures(gib: float) -> list[Figure]:
    root = Path(tempfile.mkdtemp(prefix="lf-bench-"))
    try:
        log = _a_log(root, int(gib * (1 << 30)))
        return [*searches(root, log), verifying(log)]
    finally:
        shutil.rmtree(root)


def _a_log(root: Path, size: int) -> Path:
    """Write a running log as the agent does, with a rare word in it."""
    random_ = random.Random(1)
    path = root / "home" / "logs" / "exp" / "run" / "here.jsonl"
    path.parent.mkdir(parents=True)
    number = 0
    with path.open("wb") as file:
        while file.tell() < size:
            lines = []
            for _ in range(10_000):
                number += 1
                word = NEEDLE if number % 50_000 == 0 else random_.choice(WORDS)
                second = f"{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}"
                lines.append(
                    f'{{"time":"2026-01-05T12:{second}000Z","level":"INFO","event":"EpochEnd","epoch":{number},'
                    f'"batch":42,"loss":{random_.random():.6f},"phase":"{word}","seq":"k3f9x2mq7a-{number}"}}\n'
                )
            file.write("".join(lines).encode())
    return path


def searches(root: Path, log: Path) -> list[Figure]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")}
    env |= {"LOGFERRY_HOME": str(root / "home"), "LOGFERRY_NODE_DIR": str(root / "node"), "LC_ALL": "C.UTF-8"}
    ours = [sys.executable, "-m", "logferry", "logs", "exp", "--json", "--grep"]
    regex = "needle-[a-z]+-the"
    found = []
    for name, words, theirs, goal in (
        ("a literal", [NEEDLE], ["grep", "-F", NEEDLE], 1.5),
        ("a regular expression", [regex], ["grep", "-E", regex], 4.0),
    ):
        pairs = [(_seconds([*ours, *words], env), _seconds([*theirs, str(log)], env)) for _ in range(3)]
        own, grep = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
        size = log.stat().st_size / (1 << 30)
        details: dict[str, float | str] = {"ours, s": own, "grep, s": grep, "GiB": size}
        found.append(Figure(f"logs --grep for {name} ÷ grep", own / grep, "×", goal, details=details))
    return found


def _seconds(command: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)  # grep ends at the first hit for /dev/null
    return time.perf_counter() - began


def verifying(log: Path) -> Figure:
    """What `verify` does with the lines of a run, in processor time, beside splitting them into lines."""
    data = log.read_bytes()[: 64 << 20]
    data = data[: data.rfind(b"\n") + 1]
    began = time.process_time()
    scan = Scan()
    scan.add(data)
    ours = time.process_time() - began
    began = time.process_time()
    lines = len(data.splitlines())
    bare = time.process_time() - began
    details: dict[str, float | str] = {"÷ splitting into lines": ours / bare}
    return Figure("verify, lines per second of CPU", lines / ours, "", at_least=400_000, details=details)
