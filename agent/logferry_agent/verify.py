"""`logferry verify`: is every event of a run in its running logs, once and in order; computed from the lines alone.

A run is complete when, for each producer, its lines carry the numbers 1 to `emitted` once and in order; `emitted` is
what its seal says. Numbers in files that retention removed count as there (`pruned`). What was shed because a spool
was full never had a number: it is counted in the seal, shown, and makes a run incomplete. A producer without a seal is
still running, or its node has not reported its end: the run is not complete yet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from logferry.cli import FINE, NO, Parser, UsageError, printable, say, settings_of
from logferry.layout import Home
from logferry_agent.content import UNREADABLE
from logferry_agent.logset import RunLogs, find, host_blocks, runs
from logferry_agent.prune import pruned
from logferry_agent.scan import AGENT_NAME, Producer, Scan, without

# How a producer ended whose last events went with its memory, or with a spool that somebody removed.
_LOST = "lost"
# Of more producers than that, the complete ones are not listed.
_MOST_SHOWN = 8
Ranges = list[tuple[int, int]]


def verify_run(run: RunLogs) -> dict[str, Any]:
    """Return what the files say of a run: the object that `--json` prints."""
    scans, faults = [], []
    for logs in run.files().values():
        scan = Scan()
        for block in host_blocks(run, logs, lambda path, error: faults.append(f"{path} cannot be read: {error}")):
            scan.add(block)
        scans.append(scan)
    try:
        gone = pruned(run)
    except UNREADABLE as error:
        gone = []
        faults.append(f"what was removed from {run.path} cannot be read: {error}")
    found = _merged(scans, gone)
    producers = [_judged(name, one, _ranges(name, gone)) for name, one in sorted(found.items())]
    for scan in scans:
        faults += scan.faults + scan.removed
    complete = bool(producers) and all(one["complete"] for one in producers) and not any(scan.faults for scan in scans)
    return {
        "experiment_id": run.experiment,
        "run_id": run.run,
        "complete": complete,
        "producers": producers,
        "faults": faults,
    }


def _merged(scans: Iterable[Scan], gone: list[dict[str, Any]]) -> dict[str, Producer]:
    """Return the producers of all hosts, and those of removed files; a producer writes to one host's files only."""
    found: dict[str, Producer] = {}
    for scan in scans:
        found.update((name, one) for name, one in scan.producers.items() if name != AGENT_NAME)
    removed = Scan()
    for file in gone:
        for line in file.get("system", []):
            removed.add(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        for name in file.get("producers", {}):
            found.setdefault(name, Producer())
    for name, one in found.items():
        before = removed.producers.get(name)
        if before:
            one.seal = one.seal or before.seal
            one.gaps = before.gaps + one.gaps
    return found


def _ranges(name: str, gone: list[dict[str, Any]]) -> Ranges:
    return [(first, last) for one in gone for first, last in one.get("producers", {}).get(name, [])]


def _judged(name: str, found: Producer, removed: Ranges) -> dict[str, Any]:
    seal = found.seal
    emitted = seal.get("emitted", 0) if seal else max(found.last, *(last for _, last in removed), 0)
    missing = list(found.missing)
    if found.last < emitted:
        missing.append((found.last + 1, emitted))
    marked: Ranges = [(gap.first, gap.last) for gap in found.gaps]
    absent = without(missing, removed)
    lost = sum(last - first + 1 for first, last in without(marked, removed))
    unmarked = sum(last - first + 1 for first, last in without(absent, marked))
    shed = sum((seal or {}).get("shed", {}).values())
    judged = {
        "producer": name,
        "emitted": emitted,
        "written": found.lines,
        "shed": shed,
        "end": seal.get("end", "unknown") if seal else "running",
        "missing": lost + unmarked,
        "repeated": found.again,
        "pruned": _size(removed) if removed else 0,
        "gaps": [f"{gap.cause}: {gap.last - gap.first + 1 or '?'} from {gap.first}" for gap in found.gaps],
    }
    whole = not (lost or unmarked or found.again or shed or found.gaps or judged["end"] == _LOST)
    return {**judged, "complete": whole and seal is not None}


def _size(ranges: Ranges) -> int:
    return sum(last - first + 1 for first, last in ranges)


def why(one: dict[str, Any]) -> str:
    """Return in words what one producer's row says."""
    said = [f"{one['missing']} missing"] if one["missing"] else []
    said += [f"{one['repeated']} repeated or out of order"] if one["repeated"] else []
    said += [f"{one['shed']} shed because the spool was full"] if one["shed"] else []
    said += [f"{one['pruned']} pruned by retention"] if one["pruned"] else []
    said += one["gaps"]
    if one["end"] == _LOST:
        said.append("its last events were in memory, or in a spool that was removed, and may be missing")
    if one["end"] == "running":
        said.append("no seal yet: still running, or the agent of its node has not seen its end")
    return "; ".join(said) or "complete"


def verify(arguments: list[str]) -> int:
    """Verb: say whether runs are complete; exit code 1 if one is not."""
    parser = Parser("verify")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run or an experiment; all runs without it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    home = Home(settings_of(options).home)
    wanted = runs(home) if options.run is None else find(home, options.run)
    if options.run is not None and not wanted:
        raise UsageError(f"verify: no run or experiment {options.run!a} under {home.logs}; 'logferry runs' lists them")
    found = [verify_run(run) for run in wanted]
    complete = all(one["complete"] for one in found)
    if options.json:
        print(json.dumps(found[0] if options.run is not None and len(found) == 1 else _together(found)))
    else:
        for one in found:
            _show(one, details=options.run is not None or not one["complete"])
        sys.stdout.flush()  # the sum comes last, also where both go to one file
        say(f"{sum(one['complete'] for one in found)} of {len(found)} runs complete")
    return FINE if complete else NO


def _together(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one object for several runs: each, and the producers of all."""
    producers = [
        {"experiment_id": run["experiment_id"], "run_id": run["run_id"], **one}
        for run in found
        for one in run["producers"]
    ]
    return {"complete": all(run["complete"] for run in found), "producers": producers, "runs": found}


def _show(run: dict[str, Any], *, details: bool) -> None:
    rows = run["producers"]
    emitted, written = (sum(row[count] for row in rows) for count in ("emitted", "written"))
    counts = f"emitted {emitted}, written {written}, {len(rows)} producer{'s' * (len(rows) != 1)}"
    verdict = "complete  " if run["complete"] else "INCOMPLETE"
    print(printable(f"{verdict} {run['experiment_id']}/{run['run_id']}  {counts}"))
    if not details:
        return
    for row in rows:
        if not (row["complete"] and len(rows) > _MOST_SHOWN):
            counts = f"emitted {row['emitted']}, written {row['written']}, end {row['end']}"
            print(printable(f"  {row['producer']}: {counts}: {why(row)}"))
    for fault in run["faults"]:
        print(printable(f"  {fault}"))
