"""At each named point a real process ends itself; what follows it finds every returned call once, in order."""

from __future__ import annotations

import ast
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from logferry.killpoints import POINTS
from support.killing import CONFIG, VARIABLE, Job, dies, service, settle
from support.node import Node, wait_for

ROOT = Path(__file__).parents[2]
# Point → kind of the job that dies there, in the order in which a job passes them. N-th passages where the first is
# another one's: the second segment is the spare that the shipper thread prepares.
OPENING = {
    "spool.made": "plain",
    "spool.locked": "plain",
    "spool.greeted": "plain",
    "spool.named": "plain",
    "segment.opened": "plain",
    "segment.allocated": "plain",
    "segment.made": "plain",
    "head.made": "plain",
    "result.linked": "plain",
    "run.begun": "plain",
    "segment.opened:2": "plain",
    "segment.allocated:2": "plain",
    "segment.made:2": "plain",
    "spool.greeted:2": "fork",
    "segment.allocated:3": "fork",
    "child.joining": "fork",
    "child.joined": "fork",
}
RUNNING = {
    "roll.retired": "plain",
    "roll.shown": "plain",
    "trim.noted": "shipped",
    "trim.unlinked": "shipped",
    "result.spooled": "plain",
    "result.written": "plain",
    "result.synced": "plain",
    "result.renamed": "plain",
    "result.replaced": "plain",
    "finish.said": "plain",
    "finish.spooled": "plain",
    "finish.saved": "plain",
    "finish.ended": "plain",
    "finish.shipped": "plain",
    "finish.unlocked": "plain",
}
# Points of an agent, which dies at one after the other while a job logs on and others die.
JOURNAL = [
    *("state.opened", "journal.opened", "journal.headed", "journal.named", "journal.begun", "journal.opened:2"),
    *("journal.begun:2", "journal.appended", "recovery.begun", "journal.appended:3", "recovery.rewritten"),
    *("recovery.done", "journal.synced", "journal.synced:3", "ack.sent", "ack.sent:5", "journal.trimmed"),
]
ADOPTION = [
    *("adopt.locked", "adopt.taken", "adopt.taken:2", "adopt.durable", "adopt.sealed", "adopt.settled"),
    *("remove.hidden", "remove.begun", "remove.emptied", "remove.done", "adopt.retired"),
    *("settle.written", "result.written", "result.synced", "result.renamed", "result.replaced"),
]
LOG = [
    *("log.created", "log.known", "log.written", "log.written:2", "log.synced", "log.durable", "checkpoint.begun"),
    *("checkpoint.begun:3", "checkpoint.committed", "rotate.noted", "rotate.renamed", "rotate.synced", "rotate.left"),
]
COMPRESSION = ["compress.written", "compress.synced", "compress.renamed", "compress.named", "compress.done"]
RETENTION = ["compress.done:4", "prune.written", "prune.noted", "prune.done"]
TRASH = ["trash.bare", "trash.hidden", "trash.unmarked"]
STATE = ["state.aside", "state.cleared", "state.opened"]
COLLECTOR = ["migrate.begun", "migrate.stepped", "migrate.done", "ingest.begun", "ingest.taken", "ingest.committed"]
ALL = [
    *(*OPENING, *RUNNING, "takeover.marked"),
    *(*JOURNAL, *ADOPTION, *LOG, *COMPRESSION, *RETENTION, *TRASH, *STATE),
    *(*COLLECTOR, "hints.drained:2"),
]


def test_the_points_in_the_code_are_those_that_are_described_and_those_that_are_tried_here() -> None:
    found = sorted(_points_in_the_code())
    assert found == sorted(set(found)), "a name stands for one place"
    assert found == sorted(POINTS) == sorted({point.partition(":")[0] for point in ALL})


def _points_in_the_code() -> Iterator[str]:
    for package in ("sdk", "agent", "collector"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "passed":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), path
                    yield name.value


@pytest.mark.parametrize("points", [OPENING, RUNNING], ids=["opening", "running"])
def test_a_job_that_dies_at_any_point_loses_no_call_that_returned(node: Node, points: dict[str, str]) -> None:
    node.configure(CONFIG)
    agent = service(node, "agent")
    jobs = [Job(node, kind, point.replace(":", "-"), point) for point, kind in points.items()]
    for job, point in zip(jobs, points, strict=True):
        if job.kind == "fork":
            assert job.process.wait(40) == 0, point
        else:
            dies(job.process, point)
    # Nothing of these was ever seen: they died before their directories had names.
    hidden = {"spool.made", "spool.locked", "spool.greeted"}
    begun = list((node.dir / "spool").glob(".new-*"))
    assert len(begun) == sum(point.partition(":")[0] in hidden for point in points)
    for path in begun:
        os.utime(path, (1, 1))  # an hour later
    wait_for("what was begun is cleared away", lambda: not list((node.dir / "spool").glob(".new-*")))
    settle(node, [job for job in jobs if job.run not in hidden], agent)


def status_of(node: Node) -> str:
    return "".join(path.read_text() for path in node.home.glob("agents/*.collector.json"))


def chain(node: Node, points: list[str], config: str = CONFIG) -> None:
    """Let agents die at one point after the other, a job killed under each, and one logging on through all."""
    node.configure(config)
    jobs = [Job(node, "steady", "steady")]
    for point in points:
        agent = service(node, "agent", point)
        jobs.append(Job(node, "killed", point.replace(":", "-")))
        dies(agent, point)
    for job in jobs[1:]:
        assert job.process.wait(40) == -9
    settle(node, jobs, service(node, "agent"))


CHAINS = {
    "journal": JOURNAL[:9],
    "recovery": JOURNAL[9:],
    "adoption": ADOPTION[:6],
    "removal": ADOPTION[6:],
    "log": LOG[:7],
    "rotation": LOG[7:],
    "compression": COMPRESSION,
}


@pytest.mark.parametrize("points", CHAINS.values(), ids=CHAINS)
def test_agents_that_die_at_one_point_after_the_other_lose_and_repeat_nothing(node: Node, points: list[str]) -> None:
    chain(node, points)


def test_agents_that_die_at_any_point_of_the_retention_know_what_was_in_the_files_that_went(node: Node) -> None:
    chain(node, RETENTION, f"{CONFIG}keep_files = 1\n")


def test_of_a_run_in_the_trash_nothing_is_left_whenever_its_deletion_was_cut_short(node: Node) -> None:
    results, logs = node.home / "results" / "kill", node.home / "logs" / "kill"
    for point in TRASH:
        log = logs / point / "host.jsonl"
        for path in (log, results / f"{point}.json", results / f"{point}.part-abcdefgh.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"status": "COMPLETED"}')
        for arguments in (["tag", point, "+good"], ["rm", point]):
            assert node.call(*arguments).returncode == 0
        assert node.call("prune", **{VARIABLE: point}).returncode == -signal.SIGKILL, point
        assert any(results.iterdir()), point
        done = node.call("prune")
        assert (done.returncode, point in done.stdout) == (0, True), (point, done)
        assert [*results.iterdir(), *logs.iterdir()] == [], point


def test_agents_that_die_while_they_begin_their_database_anew_lose_and_repeat_nothing(node: Node) -> None:
    node.configure(CONFIG)
    jobs = [Job(node, "steady", "steady")]
    for point in STATE:
        jobs.append(Job(node, "killed", point.replace(":", "-")))
        agent = service(node, "agent")
        wait_for("something is written", (node.home / "logs" / "kill" / jobs[-1].run).exists)
        node.stop(agent, signal.SIGKILL)
        for name in ("state.db", "state.db-wal"):
            (node.dir / name).write_bytes(b"\xff" * 4096)
        dies(service(node, "agent", point), point)
    settle(node, jobs, service(node, "agent"))


def test_collectors_that_die_at_any_point_take_in_every_result_once(node: Node) -> None:
    results = node.home / "results" / "kill"
    results.mkdir(parents=True)
    for number, point in enumerate([*COLLECTOR, "hints.drained:2"]):
        collector = service(node, "collector", point)
        for name in (f"{number}-a", f"{number}-b"):
            text = json.dumps({"status": "COMPLETED", "metrics": {"n": number}})
            (results / f"{name}.json").write_text(text)
        if point.startswith("hints"):
            wait_for("it watches", lambda: "watching" in status_of(node))
            (results / "hint.json").write_text(text)
        dies(collector, point)
    rows = node.asked("results", "--limit", "1000")
    assert sorted(row["run_id"] for row in rows) == sorted(path.stem for path in results.glob("[!.]*.json"))


def test_who_takes_over_a_run_and_dies_is_followed_by_one_that_owns_it(node: Node) -> None:
    node.configure(CONFIG)
    jobs = [Job(node, "killed", "run")]
    assert jobs[0].process.wait(40) == -9
    jobs.append(Job(node, "plain", "run", "takeover.marked"))
    dies(jobs[1].process, "takeover.marked")
    jobs.append(Job(node, "plain", "run"))
    assert jobs[2].process.wait(40) == 0
    settle(node, [], service(node, "agent"))
    document = json.loads((node.home / "results" / "kill" / "run.json").read_bytes())
    assert (document["status"], document["metrics"], document["attempt"]) == ("COMPLETED", {"half": 1}, 3)
