"""What a soak left behind, judged from files alone: this imports nothing of logferry.

What each call had returned (notes in shared memory, outside of the processes) is compared with the JSON lines, what was
shed with what the seals say of it, each run's end with what its process came to, and the store with the result files.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

WRITERS = 3
WORDS_PER_JOB = 1 + 2 * WRITERS
# Beside the ticks a job logs these at their level: its start, its configuration, its end.
_OTHER_CALLS = 3
_NAME = re.compile(r"(?P<host>[^.].*?)(~(?P<variant>\d+))?(\.\d{8}T\d{6}Z-(?P<count>\d+))?\.jsonl(\.zst)?")


@dataclass
class Job:
    """What is known of a job from outside."""

    run: str
    first: int  # of its words in the notes
    ends: set[str] = field(default_factory=set)  # one of which its result must name
    in_memory: bool = False  # it said that it had no spool: what it had not shipped died with it


@dataclass
class Verdict:
    """Counts; the second half are violations, and `says` has a line for each."""

    events: int = 0
    shed: int = 0
    in_memory: int = 0
    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    invented: int = 0
    torn: int = 0
    miscounted: int = 0
    wrong_ends: int = 0
    wrong_rows: int = 0
    says: list[str] = field(default_factory=list)

    def note(self, what: str, count: int, where: str) -> None:
        if count:
            setattr(self, what, getattr(self, what) + count)
            self.says.append(f"{what}: {count} in {where}")

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items() if name != "says")


def judge(home: Path, jobs: list[Job], notes: memoryview) -> Verdict:
    verdict = Verdict(in_memory=sum(job.in_memory for job in jobs))
    documents = documents_of(home)
    for job in jobs:
        lines = list(lines_of(home / "logs" / "soak" / job.run, verdict))
        _judge_numbers(job, lines, verdict)
        _judge_calls(job, lines, notes, verdict)
        _judge_end(job, bool(lines), documents.get(job.run), verdict)
    known = {job.run for job in jobs}
    verdict.note("invented", len(documents.keys() - known), "results")
    judge_store(home, documents, verdict)
    return verdict


def _judge_numbers(job: Job, lines: list[dict[str, Any]], verdict: Verdict) -> None:
    """Each producer's numbers count from 1 without a gap, but where a marker says so."""
    numbers: dict[str, list[int]] = {}
    gaps: dict[str, int] = {}
    for line in lines:
        producer, _, number = line["seq"].rpartition("-")
        numbers.setdefault(producer, []).append(int(number))
        if line["event"] == "logferry.gap" and "lost" in line:
            # the marker itself stands in for the last number of its gap
            gaps[line["producer"]] = gaps.get(line["producer"], 0) + line["lost"] - (producer == line["producer"])
    for producer, found in numbers.items():
        where = f"{job.run}, numbers of {producer}"
        verdict.note("twice", len(found) - len(set(found)), where)
        verdict.note("out_of_order", sum(after < before for before, after in itertools.pairwise(found)), where)
        if producer != "agent":
            verdict.note("lost", max(found) - len(set(found)) - gaps.get(producer, 0), where)
    verdict.note("lost", 0 if job.in_memory else sum(gaps.values()), f"{job.run}, gaps")


def _judge_calls(job: Job, lines: list[dict[str, Any]], notes: memoryview, verdict: Verdict) -> None:
    """Every call that returned is there, or counted as shed; at most the one that was under way as well."""
    found: dict[int, list[int]] = {}
    for line in lines:
        if line["event"] in {"Tick", "Detail"}:
            found.setdefault(line["slot"], []).append(line["number"])
            if line["event"] == "Tick":
                verdict.note("invented", int(line["ballast"] != "x" * (line["number"] % 97)), f"{job.run}, a ballast")
    missing = 0
    for slot in range(job.first + 1, job.first + WORDS_PER_JOB):
        numbers, returned, where = found.pop(slot, []), notes[slot], f"{job.run}, calls of {slot}"
        verdict.events += len(numbers)
        verdict.note("twice", len(numbers) - len(set(numbers)), where)
        verdict.note("out_of_order", sum(after < before for before, after in itertools.pairwise(numbers)), where)
        # The call in which the process died may have been kept without having returned.
        verdict.note("invented", len(set(numbers) - set(range(1, returned + 2))), where)
        is_tick = (slot - job.first) % 2 == 1  # the others come and go with the level
        missing += len(set(range(1, returned + 1)) - set(numbers)) if is_tick else 0
    verdict.note("invented", sum(map(len, found.values())), f"{job.run}, slots of others")
    shed = sum(line["shed"].get("INFO", 0) for line in lines if line["event"] == "logferry.seal")
    verdict.shed += shed
    if not job.in_memory:
        verdict.note("lost", max(0, missing - shed), f"{job.run}, calls")
        verdict.note("miscounted", max(0, shed - missing - WRITERS - _OTHER_CALLS), f"{job.run}, shed")


def _judge_end(job: Job, has_lines: bool, document: dict[str, Any] | None, verdict: Verdict) -> None:
    if job.in_memory or (document is None and not has_lines):  # it was killed before it had begun
        return
    status = (document or {}).get("status")
    verdict.note(
        "wrong_ends", int(status not in job.ends), f"{job.run}, which is {status} and not one of {sorted(job.ends)}"
    )


def judge_store(home: Path, documents: dict[str, dict[str, Any]], verdict: Verdict) -> None:
    """Every result file is one row, with what the file says."""
    store = sqlite3.connect(home / "store" / "results.db")
    query = "SELECT r.run_id, c.document FROM result r JOIN candidate c ON c.id = r.candidate"
    rows = store.execute(query).fetchall()
    (candidates,) = store.execute("SELECT count(*) FROM candidate").fetchone()
    store.close()
    found = {run: json.loads(document) for run, document in rows}
    verdict.note("wrong_rows", abs(len(rows) - len(documents)) + abs(candidates - len(rows)), "the number of rows")
    for run, document in documents.items():
        verdict.note("wrong_rows", int(found.get(run) != document), f"the row of {run}")


def documents_of(home: Path) -> dict[str, dict[str, Any]]:
    paths = (home / "results" / "soak").glob("[!.]*.json")
    return {path.stem: json.loads(path.read_bytes()) for path in paths}


def lines_of(run: Path, verdict: Verdict) -> Iterator[dict[str, Any]]:
    """Yield a run's lines in order: by variant of the name, rotated files by their number, then the current one."""

    def order(path: Path) -> tuple[int, float]:
        found = _NAME.fullmatch(path.name)
        assert found, f"{path} is no running log"
        return int(found["variant"] or 1), int(found["count"]) if found["count"] else float("inf")

    paths = [path for path in run.glob("[!.]*") if ".jsonl" in path.name]
    names = {path.name for path in paths}
    once = (path for path in paths if path.name.removesuffix(".zst") not in names - {path.name})
    for path in sorted(once, key=order):
        data = path.read_bytes()
        if path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                data = reader.readall()
        *whole, rest = data.split(b"\n")
        verdict.note("torn", int(bool(rest)), str(path))
        for raw in whole:
            try:
                yield json.loads(raw)
            except ValueError:
                verdict.note("torn", 1, f"{path}: {raw[:80]!r}")
