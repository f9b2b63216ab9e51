"""What it takes to begin: an import, a verb, an agent, and an agent with a large backlog."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zlib
from functools import cache
from pathlib import Path

import msgpack
from measure import Figure, Spread
from node import BenchNode

from logferry_agent.fs import FileSystem
from logferry_agent.journal import Journal
from logferry_agent.segment import EVENTS, HELLO, Entry

TIMING = (
    "import time; a = time.perf_counter()\nimport zmq, msgpack\n"
    "b = time.perf_counter()\nimport logferry\nprint(time.perf_counter() - b, b - a)"
)


def figures(rounds: int, backlog_gib: float) -> list[Figure]:
    with tempfile.TemporaryDirectory() as cache:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache  # bytecode, as an installed package has it
        return [imports(env, rounds), *programs(env, rounds), *backlog(backlog_gib)]


def imports(env: dict[str, str], rounds: int) -> Figure:
    """What `import logferry` takes beyond its two dependencies."""

    def both() -> tuple[float, float]:
        done = subprocess.run([sys.executable, "-c", TIMING], env=env, capture_output=True, check=True, text=True)
        own, dependencies = map(float, done.stdout.split())
        return own * 1e3, dependencies * 1e3

    both()
    taken = [both() for _ in range(rounds)]
    own, dependencies = Spread.of([one for one, _ in taken]), Spread.of([one for _, one in taken])
    details: dict[str, float | str] = {"minimum, ms": own.minimum, "its dependencies, median, ms": dependencies.median}
    return Figure("import logferry beyond its dependencies", own.median, "ms", 15, details=details)


def programs(env: dict[str, str], rounds: int) -> list[Figure]:
    """`logferry status` from start to end beside a bare interpreter, and an agent until it answers."""
    node = BenchNode()
    node.env |= env | {name: value for name, value in node.env.items() if name.startswith("LOGFERRY_")}
    try:
        ready = [node.start_agent() * 1e3]
        status, bare = [], []
        for _ in range(rounds):
            status.append(_run_ms([sys.executable, "-m", "logferry", "status"], node.env))
            bare.append(_run_ms([sys.executable, "-c", "pass"], node.env))
        for _ in range(rounds // 3):
            node.stop_agent()
            ready.append(node.start_agent() * 1e3)
    finally:
        node.close()
    one, other, agent = Spread.of(status), Spread.of(bare), Spread.of(ready)
    details: dict[str, float | str] = {"minimum, ms": one.minimum, "a bare interpreter, median, ms": other.median}
    return [
        Figure("logferry status, start to end", one.median, "ms", 150, details=details),
        Figure("agent, start until it answers", agent.median, "ms", 500, details={"minimum, ms": agent.minimum}),
    ]


def _run_ms(command: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1e3


@cache
def prepare(gib: float) -> BenchNode:
    """Make a node directory whose journal holds that much, none of which can be written."""
    node = BenchNode()
    node.config("[agent]\njournal_bytes = 68719476736\n")
    _fill_journal(node.node.journal, int(gib * (1 << 30)))
    (node.root / "home").mkdir()
    (node.root / "home" / "logs").write_text("")  # in the way
    return node


def backlog(gib: float) -> list[Figure]:
    """An agent on a node directory whose journal holds that much that is not written yet."""
    node = prepare(gib)
    try:
        ready_ms = node.start_agent() * 1e3
        time.sleep(3)  # it tries to work it off meanwhile
        memory = node.memory_bytes() / (1 << 20)
        used = sum(path.stat().st_size for path in node.node.journal.iterdir()) / (1 << 30)
    finally:
        node.kill_agent()  # told to end, it would try to write for all the time that it has to drain
        node.close()
    details: dict[str, float | str] = {"journal, GiB": used, "most memory, MiB": memory}
    return [
        Figure(f"agent ready with a backlog of {gib:g} GiB", ready_ms, "ms", 1_000, details=details),
        Figure(f"agent's memory with a backlog of {gib:g} GiB", memory, "MiB", 100),
    ]


def _fill_journal(directory: Path, size: int) -> None:
    directory.mkdir(parents=True)
    directory.parent.chmod(0o700)
    about = {"experiment_id": "old", "run_id": "old", "host": "here", "pid": 1, "owner": False, "spool": "memory"}
    producer, event = "k3f9x2mq7a", msgpack.packb([time.time_ns(), 20, "EpochEnd", None, {"text": "x" * 1000}])
    record = b"\xce%b\xce%b%b" % (len(event).to_bytes(4), zlib.crc32(event).to_bytes(4), event)
    count = (1 << 20) // len(record)
    payload = record * count
    journal = Journal(directory, FileSystem(), lambda *_: None, time.time_ns)
    journal.start()
    try:
        journal.append([Entry(HELLO, producer, 0, 0, msgpack.packb(about))])
        for number in range(size // len(payload)):
            journal.append([Entry(EVENTS, producer, 1 + number * count, count, payload)])
            while journal.queued_bytes > 64 << 20:
                time.sleep(0.001)
    finally:
        journal.close(600)
