"""Real bytes to begin with: a job that was killed leaves a spool and a result; an agent's parts make frames, a journal
and running logs of it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

from logferry import leftovers, spool, wire
from logferry_agent.compression import compress
from logferry_agent.fs import FileSystem
from logferry_agent.journal import EVENTS, Entry
from support.writerrig import START_NS, event, rig

_JOB = """
import logferry, os, sys
run = logferry.init("exp", run_id="run", model="m", config={"lr": 0.1, "nested": {"a": [1, 2]}}, tags=["t"])
run.info("Plain", a=1, b=0.5, c="text", d=None)
run.warning("Odd", 'with "quotes", = and \\n lines', extra={"x": 1}, seq=5, bad=float("nan"), list=[1, [2, {"k": "v"}]])
run.bind(fold=3).debug("Bound", e="\\u202e\\x1b[2J")
run.log({"loss": 0.5}, step=3)
try:
    1 / 0
except ZeroDivisionError:
    run.exception("Failed")
for number in range(20):
    run.info("Step", step=number, loss=1 / (number + 1))
run.result({"accuracy": 0.9})
run.flush(timeout=0.01)
if sys.argv[1] == "end":
    run.finish()
os._exit(9)
"""


class Real(NamedTuple):
    spools: list[dict[str, bytes]]
    frames: list[list[bytes]]
    journals: list[dict[str, bytes]]
    logs: list[dict[str, bytes]]
    results: list[bytes]


@functools.cache
def real() -> Real:
    with tempfile.TemporaryDirectory(prefix="lf-") as name:
        root = Path(name)
        for how in ("killed", "end"):
            environment = {key: value for key, value in os.environ.items() if not key.startswith("LOGFERRY_")}
            environment |= {"LOGFERRY_NODE_DIR": f"{root}/{how}", "LOGFERRY_HOME": f"{root}/home-{how}"}
            subprocess.run([sys.executable, "-c", _JOB, how], env=environment, check=False, capture_output=True)
        directories = sorted(root.glob("*/spool/*"))
        journals, logs = asyncio.run(_agents(root, directories))
        results = [path.read_bytes() for path in sorted(root.glob("home-*/results/*/*.json"))]
        spools = [_files(directory) for directory in directories]
        assert len(spools) == len(results) == 2, (spools, results)
        return Real(spools, _frames(directories), journals, logs, results)


def _files(directory: Path) -> dict[str, bytes]:
    """Return a directory's files, without the zeros that they were allocated with."""
    found = {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}
    return {name: data.rstrip(b"\0") if name.endswith(".seg") else data for name, data in found.items()}


def _frames(directories: list[Path]) -> list[list[bytes]]:
    frames: list[wire.Frame] = []
    for directory in directories:
        about = spool.read_about(directory)
        assert isinstance(about, dict)
        frames.append(wire.Hello(directory.name, 0, about))
        for piece in leftovers.read_dead(directory, 0, 700):
            assert isinstance(piece, leftovers.Slice)
            crc32 = zlib.crc32(piece.payload)
            frames.append(wire.Batch(directory.name, piece.first, piece.events, crc32, piece.payload))
        frames.append(wire.Flush(directory.name, True))
    frames += [wire.Ask("status", {}), wire.Ask("level", {"experiment": "exp", "run": "", "level": "INFO"})]
    return [wire.encode(frame) for frame in frames]


async def _agents(root: Path, directories: list[Path]) -> tuple[list[dict[str, bytes]], list[dict[str, bytes]]]:
    """Put the spools into a journal and write the running log; the second life begins with the ledger of the first."""
    journals: dict[str, bytes] = {}
    async with rig(root / "rig", text=True) as one:
        for number, directory in enumerate(directories):
            about = spool.read_about(directory)
            assert isinstance(about, dict)
            one.hello(directory.name, **about)
            for piece in leftovers.read_dead(directory, 0, 700):
                assert isinstance(piece, leftovers.Slice)
                one.journal.append([Entry(EVENTS, directory.name, piece.first, piece.events, piece.payload)])
            one.seal(directory.name, 20 + number, owner=True, status="COMPLETED")
        await one.until(lambda: not one.journal.queued_bytes)
        journals |= _files(root / "rig" / "node" / "journal")
        await one.quiet()
    async with rig(root / "rig", text=True) as one:
        one.hello("cccccccc", run="run")
        shed = [START_NS, 0, "logferry.gap", None, {"shed": {"INFO": 3}, "cause": "full"}]
        one.events("cccccccc", 1, event(), event(x=float("nan")), shed)
        one.events("cccccccc", 9, event())
        await one.until(lambda: not one.journal.queued_bytes)
        journals |= _files(root / "rig" / "node" / "journal")
        await one.quiet()
        path = one.home.run_logs("exp", "run")
    plain = _files(path)
    for number, kind in enumerate(("zstd", "gzip"), 1):
        rotated = path / f"node7.20250730T130000Z-{number}.jsonl"
        rotated.write_bytes(plain["node7.jsonl"])
        compress(FileSystem(), rotated, kind)
    return [journals], [plain, _files(path)]
