"""Real processes whose clocks step, and hosts that disagree about the time by hours."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logferry.layout import host_name
from logferry_agent.rotation import in_order
from soak.clock import Clock
from support.node import Node, wait_for

DAY_S = 86_400
# Before and after a step of the clock, on request.
TALKING = """
import sys, logferry
with logferry.init("exp", run_id="r") as run:
    for line in sys.stdin:
        for number in range(50):
            run.info("Tick", number=number)
        print(run.flush("written", 20).written, flush=True)
"""


@pytest.fixture
def clock(node: Node) -> Clock:
    """A clock that all of the node's processes share, and that a test sets."""
    clock = Clock(node.root)
    node.env |= clock.environment()
    return clock


def test_order_is_by_number_whatever_the_clock_does_and_nothing_waits_for_it(node: Node, clock: Clock) -> None:
    node.env["TZ"] = "America/New_York"
    node.configure("[agent]\nrotate_age_s = 60\nkeep_age_s = 60\nfinal_after_s = 1\ncheckpoint_s = 0.1\n")
    node.agent()
    began = time.monotonic()
    job = node.job(TALKING, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert job.stdin
    assert job.stdout
    # across the hour that New York skips, back by a month, beyond the seconds that 32 bits count, and home again
    moments = [datetime(2027, 3, 14, 6, 59, 58, tzinfo=UTC), datetime(2027, 3, 14, 7, 0, 1, tzinfo=UTC)]
    moments += [datetime(2026, 1, 1, tzinfo=UTC), datetime(2039, 1, 1, tzinfo=UTC)]
    for shift in (0, *(int(moment.timestamp() - time.time()) for moment in moments), 0):
        clock.shift(shift)
        job.stdin.write(b"go\n")
        job.stdin.flush()
        assert int(job.stdout.readline()) > 50
    job.stdin.close()
    assert job.wait(30) == 0
    took = time.monotonic() - began
    wait_for("it is sealed", lambda: "logferry.seal" in node.call("logs", "exp/r", "--all").stdout)
    assert node.asked("verify", "exp/r")["complete"]
    printed = [json.loads(line) for line in node.call("logs", "exp/r", "--json").stdout.splitlines()]
    numbers = [int(line["seq"].rpartition("-")[2]) for line in printed]
    assert numbers == sorted(set(numbers))
    assert len([line for line in printed if line["event"] == "Tick"]) == 300
    assert len([line for line in printed if line["time"] >= "2038-12-31"]) >= 50
    # one rotation for each step ahead
    assert len(in_order(os.listdir(node.home / "logs" / "exp" / "r"))) <= 1 + 3
    result = json.loads((node.home / "results" / "exp" / "r.json").read_text())
    assert 0 < result["duration_s"] <= took
    assert 0 <= node.asked("status")["agent"]["uptime_s"] <= time.monotonic() - began + 60
    since = node.call("logs", "exp/r", "--json", "--since", "2038-12-31").stdout.splitlines()
    assert since == [json.dumps(line, separators=(",", ":")) for line in printed if line["time"] >= "2038-12-31"]


def test_producers_that_disagree_by_hours_are_each_in_order(node: Node) -> None:
    node.agent()
    clock = Clock(node.root)
    jobs = []
    for skew_s in (0, 7 * 3600, -5 * 3600):
        node.env |= clock.environment(skew_s)
        jobs.append(node.job(TALKING, stdin=subprocess.PIPE))
    for job in jobs:
        job.communicate(b"go\ngo\n", timeout=60)
    wait_for("all are sealed", lambda: len(node.seals()) == 3)
    numbers = node.numbers()
    assert len(numbers) == 4  # and the agent's own
    assert all(found == sorted(set(found)) for found in numbers.values())
    assert node.asked("verify", "exp/r")["complete"]


def test_a_live_owner_on_another_host_is_left_its_run_however_far_the_clocks_are_apart(node: Node) -> None:
    path = _other_hosts_run(node)
    clock = Clock(node.root)
    for skew_s in (2 * 3600, -2 * 3600):
        node.env |= clock.environment(skew_s)
        done = node.run_job("import logferry; logferry.init('exp', run_id='r').finish()")
        assert done.returncode == 0
        assert json.loads(path.read_text())["owner"] == "theirs"
    os.utime(node.home / "agents" / "other", (time.time() - 600,) * 2)
    node.env |= clock.environment(-2 * 3600)
    node.run_job("import logferry; logferry.init('exp', run_id='r').finish()")
    found = json.loads(path.read_text())
    assert (found["attempt"], found["status"]) == (2, "COMPLETED")


@pytest.mark.parametrize("skew_s", [2 * 3600, -2 * 3600])
def test_a_run_is_lost_when_its_hosts_agent_is_silent_whatever_the_readers_clock_says(node: Node, skew_s: int) -> None:
    path = _other_hosts_run(node)
    node.env |= Clock(node.root).environment(skew_s)
    assert [run["status"] for run in node.asked("runs")] == ["RUNNING"]
    # written before the other host's clock was set back
    os.utime(path, (time.time() + DAY_S,) * 2)
    os.utime(node.home / "agents" / "other", (time.time() - 600,) * 2)
    assert [run["status"] for run in node.asked("runs")] == ["LOST"]


def _other_hosts_run(node: Node) -> Path:
    assert host_name() != "other"
    path = node.home / "results" / "exp" / "r.json"
    path.parent.mkdir(parents=True)
    document = {"experiment_id": "exp", "run_id": "r", "status": "RUNNING", "host": "other", "owner": "theirs"}
    path.write_text(json.dumps({**document, "attempt": 1, "revision": 1}))
    (node.home / "agents").mkdir()
    (node.home / "agents" / "other").touch()
    return path
