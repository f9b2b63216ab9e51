"""Running logs that somebody damaged, as `verify`, `logs`, `show` and the next agent read them."""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from logferry_agent.follow import RunTail
from logferry_agent.fs import FileSystem
from logferry_agent.logset import RunLogs
from logferry_agent.needles import Needles, literal
from logferry_agent.pages import View, last_lines, read_runs
from logferry_agent.pages import backwards as from_the_end
from logferry_agent.salvage import salvage
from logferry_agent.scanner import Hits, holding, matching
from logferry_agent.selection import Filter
from logferry_agent.state import Key
from logferry_agent.verify import verify_run
from logferry_collector.trouble import trouble
from mutation import join, split
from real import real

_NAMES = [
    "node7.jsonl",
    "node7.20250730T130000Z-1.jsonl.zst",
    "node7.20250730T130000Z-2.jsonl.gz",
    "node7.20250730T130000Z-3.jsonl",
    "node7~2.jsonl",
    "node7.pruned",
    "node7.log",
    "node8.jsonl",
]
_DIRECTORY = tempfile.TemporaryDirectory(prefix="lf-")
_ROOT = Path(_DIRECTORY.name)
_OPTIONS = argparse.Namespace(level="INFO", event="*", grep="a.*=", since="1d", until=None, all=True)
_FILTER = Filter(_OPTIONS, datetime(2025, 7, 31, tzinfo=UTC))


class _Unsynced(FileSystem):
    """Syncs take longer than all else, and no power fails here."""

    def fsync(self, fd: int) -> None:
        pass


def seeds() -> list[bytes]:
    found = [join(0, [(_NAMES.index(name), data) for name, data in files.items()]) for files in real().logs]
    pruned = b'{"time":"2025-07-30T13:00:00.000000Z","file":"x","producers":{"cccccccc":[[1,2]]},"system":[]}\n'
    return [*found, join(0, [(5, pruned), (7, real().logs[0]["node7.jsonl"])])]


def _view(hits: Hits | None) -> View:
    return View(_FILTER, lambda _: ("", ""), as_json=False, hits=hits)


def check(data: bytes) -> None:
    directory = _ROOT / "exp" / "run"
    directory.mkdir(parents=True)
    run = RunLogs("exp", "run", directory)
    try:
        for kind, body in split(data)[1]:
            (directory / _NAMES[kind % len(_NAMES)]).write_bytes(body)
        found = verify_run(run)
        assert isinstance(found["complete"], bool)
        for lines in read_runs([run], _view(None)):
            assert not any("\n" in line for line in lines)
        for hits in (holding(literal("Step")), matching(re.compile("S[^t]*.p"), Needles([])), holding(_FILTER.needles)):
            list(read_runs([run], _view(hits)))
        last_lines(from_the_end([run]), _view(None), 3)
        tail = RunTail(run)
        try:
            for blocks in tail.poll():
                list(blocks)
        finally:
            tail.close()
        trouble(directory)
        salvage(_Unsynced(), _ROOT, "node7", Key("exp", "run", "jsonl"))
    finally:
        shutil.rmtree(directory)
