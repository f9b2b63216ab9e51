"""Reading running logs: searching large ones beside grep, showing and verifying one beside bare loops, its last lines.

grep runs in the C locale and writes into a pipe, as ours does: for /dev/null it ends at the first hit.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ahead import scratch
from measure import Figure, interleaved

from logferry_agent.compression import compress
from logferry_agent.fs import FileSystem
from logferry_agent.scan import Scan

WORDS = ["validation", "checkpoint", "gradient", "scheduler", "augmentation", "attention", "momentum", "dropout"]
_LOGFERRY = [sys.executable, "-m", "logferry"]
NEEDLE = "needle-in-the-log"
RUNS = 64
# Name, what ours is asked for, what grep is, goal. A word of common letters takes grep itself twice as long.
LOGS = [
    ("a literal", NEEDLE, ["-F", NEEDLE], 1.5),
    ("a word", "needle", ["-F", "needle"], 1.5),
    ("a regular expression", "needle-[a-z]+-the", ["-E", "needle-[a-z]+-the"], 4.0),
    ("a field's value", r"loss=0\.9999", ["-E", r'loss":0\.9999'], 4.0),
    ("two words", "needle|nowhere", ["-E", "needle|nowhere"], 4.0),
    ("a word in any case", "(?i)needle", ["-iE", "needle"], 4.0),
    ("a word in each eighth line", "validation", ["-F", "validation"], 4.0),
]
SEARCHES = [
    ("a rare text", [NEEDLE], NEEDLE, 1.5),
    ("a text that is nowhere", ["nowhere"], "nowhere", 1.5),
    ("a rare text, with limits", ["needle", "--level", "info", "--event", "Epoch*", "--since", "9999d"], "needle", 1.5),
    ("a text in each eighth line", ["validation"], "validation", 4.0),
]
# As many bytes are shown without a filter; all of a gigabyte would take longer than all the rest.
_SHOWN_BYTES = 128 << 20
# What a program would do that shows a log by itself.
BARE = "import sys, orjson\nfor line in open(sys.argv[1], 'rb'): print(orjson.loads(line)['event'])"


@cache
def prepare(gib: float) -> Path:
    """Make a home with a large running log, once more in many runs, compressed, and a part of it."""
    root = scratch()
    log = a_log(_log(root), int(gib * (1 << 30)))
    _split(log, root / "home/logs/many")
    _pack(log, root / "home/logs/packed/run/here.20260105T120000Z-1.jsonl")
    _copy_part(log, root / "home/logs/shown/run/here.jsonl")
    return root


def _log(root: Path) -> Path:
    return root / "home/logs/exp/run/here.jsonl"


def figures(gib: float) -> list[Figure]:
    root = prepare(gib)
    try:
        found = [*reading(root, _log(root)), last(root), *searching(root), packed(root), showing(root)]
        return [*found, verifying(_log(root))]
    finally:
        shutil.rmtree(root)


def a_log(path: Path, size: int) -> Path:
    """Write a running log as the agent does, with a rare word in it."""
    random_ = random.Random(1)
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
                    f'"batch":42,"loss":{random_.uniform(0.001, 1)},"phase":"{word}","seq":"k3f9x2mq7a-{number}"}}\n'
                )
            file.write("".join(lines).encode())
    return path


def reading(root: Path, log: Path) -> Iterator[Figure]:
    for name, pattern, options, goal in LOGS:
        ours = ["logs", "exp", "--json", "--grep", pattern]
        yield _beside(f"logs --grep for {name} ÷ grep", root, ours, ["grep", *options, str(log)], goal)


def last(root: Path) -> Figure:
    """How long the last lines of the log take, start of the interpreter included."""
    env = _environment(root)
    found = interleaved(5, ours=lambda: _seconds([*_LOGFERRY, "logs", "exp", "-n", "10"], env))["ours"]
    return Figure("logs -n 10", 1000 * found.median, "ms", 300, details={"minimum": 1000 * found.minimum})


def _copy_part(log: Path, part: Path) -> None:
    part.parent.mkdir(parents=True)
    with log.open("rb") as whole:
        data = whole.read(_SHOWN_BYTES)
    part.write_bytes(data[: data.rfind(b"\n") + 1])


def showing(root: Path) -> Figure:
    """Show every line of a log, beside a loop that parses each and prints one word of it."""
    part = root / "home/logs/shown/run/here.jsonl"
    theirs = [sys.executable, "-c", BARE, str(part)]
    figure = _beside("logs without a filter ÷ parsing each line", root, ["logs", "shown"], theirs, 1.0)
    speed = part.stat().st_size / 1e6 / float(figure.details["ours, s"])
    return figure._replace(details={**figure.details, "MB/s": speed})


def _split(log: Path, many: Path) -> None:
    data = log.read_bytes()
    for number in range(RUNS):
        start, end = (data.find(b"\n", at * len(data) // RUNS) + 1 for at in (number, number + 1))
        path = many / f"run{number:02d}" / "here.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(data[start:end])


def searching(root: Path) -> Iterator[Figure]:
    many = root / "home/logs/many"
    for name, words, theirs, goal in SEARCHES:
        ours = ["search", "--experiment", "many", *words]
        yield _beside(f"search in {RUNS} runs for {name} ÷ grep", root, ours, ["grep", "-rF", theirs, str(many)], goal)


def _pack(log: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    shutil.copyfile(log, path)
    compress(FileSystem(), path, "zstd")


def packed(root: Path) -> Figure:
    """Search in a rotated and compressed file, beside zstd into grep, which takes two processors."""
    path = root / "home/logs/packed/run/here.20260105T120000Z-1.jsonl.zst"
    theirs = ["sh", "-c", 'zstd -dc "$0" | grep -F "$1"', str(path), NEEDLE]
    ours = ["search", "--experiment", "packed", NEEDLE]
    return _beside("search in a compressed file ÷ zstd into grep", root, ours, theirs, 1.5)


def _beside(name: str, root: Path, ours: list[str], theirs: list[str], goal: float | None) -> Figure:
    env = _environment(root)
    found = interleaved(
        3,
        ours=lambda: _seconds([*_LOGFERRY, *ours], env),
        theirs=lambda: _seconds(theirs, {**env, "LC_ALL": "C"}),
    )
    own, other = found["ours"].minimum, found["theirs"].minimum
    return Figure(name, own / other, "×", goal, details={"ours, s": own, "theirs, s": other})


def _environment(root: Path) -> dict[str, str]:
    # With PYTHONUNBUFFERED a loop that prints takes more than twice as long, and ours does not.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LOGFERRY_", "PYTHON"))}
    return {**env, "LOGFERRY_HOME": str(root / "home"), "LOGFERRY_NODE_DIR": str(root / "node"), "LC_ALL": "C.UTF-8"}


def _seconds(command: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    ended = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=False)
    assert ended.returncode in {0, 1}, command
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
