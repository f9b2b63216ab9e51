"""Producers of every kind, killed and not, through the whole path: what a call returned for is in the file once."""

from __future__ import annotations

import mmap
import signal
import sys
from pathlib import Path

import pytest

from support.depth import sized
from support.node import Node, wait_for

# Logs fast, but no faster than an agent writes. After each call its number is in shared memory outside of the process.
LOUD = """
import mmap, sys, time, logferry
with open(sys.argv[2], "r+b") as file:
    returned = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
run = logferry.init("loud", run_id=sys.argv[1])
for number in range(1, 10_000_000):
    run.info("Tick", number=number)
    returned[0] = number  # one store of eight bytes: a kill finds the old number or the new one
    number % 10 or time.sleep(0.001)
"""
# Many processes from one interpreter's start: forked before there is a run, each has one of its own.
TRICKLE = """
import os, sys, time, logferry

def trickle(name):
    with logferry.init("trickle", run_id=name) as run:
        for number in range(20):
            run.info("Tick", number=number)
            time.sleep(0.01)

children = []
for place in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        trickle(f"r{place}")
        os._exit(0)
    children.append(pid)
assert not any(os.waitpid(pid, 0)[1] for pid in children)
"""
FAMILY = """
import logferry, multiprocessing, os, threading

def work(name):
    run = logferry.current()
    for number in range(50):
        run.info("Tick", who=name, number=number)

def spawned(name):
    with logferry.init("family") as run:  # joins its parent's run
        work(name)

if __name__ == "__main__":
    with logferry.init("family", run_id="one") as run:
        threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(4)]
        [thread.start() for thread in threads]
        for n in range(2):  # while other threads log
            if os.fork() == 0:
                work(f"fork{n}")
                os._exit(0)
        children = [multiprocessing.get_context("fork").Process(target=work, args=(f"mp{n}",)) for n in range(2)]
        children += [multiprocessing.get_context("spawn").Process(target=spawned, args=("spawn",))]
        [child.start() for child in children]
        [child.join() for child in children]
        [thread.join() for thread in threads]
        os.wait(), os.wait()
"""


def _returned(path: Path) -> int:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        return int.from_bytes(shared[:8], sys.byteorder)


def test_what_a_killed_producer_logged_is_there_to_the_last_returned_call(node: Node) -> None:
    node.agent()
    counts = [node.root / f"count{number}" for number in range(3)]
    jobs = []
    for number, count in enumerate(counts):
        count.write_bytes(bytes(8))
        jobs.append(node.job(LOUD, f"r{number}", str(count)))
    wait_for("all producers log", lambda: all(_returned(count) > 2000 for count in counts))
    for job in jobs:
        node.stop(job, signal.SIGKILL)
    wait_for("all are sealed", lambda: len(node.seals()) == 3)
    for number, count in enumerate(counts):
        ticks = [line["number"] for line in node.lines(f"loud/r{number}/*.jsonl") if line["event"] == "Tick"]
        assert ticks == list(range(1, len(ticks) + 1))
        # One more may be there: the process can die between its call's return and the note of it.
        assert len(ticks) - _returned(count) in {0, 1}


@pytest.mark.parametrize("round_", range(sized(1, 3)))
def test_producers_and_agent_killed_under_load_lose_nothing_and_repeat_nothing(node: Node, round_: int) -> None:
    agent = node.agent()
    counts = [node.root / f"count{number}" for number in range(2)]
    for count in counts:
        count.write_bytes(bytes(8))
    jobs = [node.job(LOUD, f"r{number}", str(count)) for number, count in enumerate(counts)]
    wait_for("both log", lambda: all(_returned(count) > 3000 * (round_ + 1) for count in counts))
    node.stop(agent, signal.SIGKILL)
    node.stop(jobs[0], signal.SIGKILL)
    agent = node.agent()
    node.stop(agent, signal.SIGKILL)
    node.stop(jobs[1], signal.SIGKILL)
    node.agent()
    wait_for("both are sealed", lambda: len(node.seals()) == 2)
    for number, count in enumerate(counts):
        ticks = [line["number"] for line in node.lines(f"loud/r{number}/*.jsonl") if line["event"] == "Tick"]
        assert ticks == list(range(1, len(ticks) + 1))
        assert len(ticks) - _returned(count) in {0, 1}
    verdict = node.asked("verify")
    assert verdict["complete"], [run for run in verdict["runs"] if not run["complete"]]


def test_a_hundred_concurrent_producers_arrive_whole(node: Node) -> None:
    node.agent()
    assert node.job(TRICKLE, "100").wait(100) == 0
    wait_for("all are sealed", lambda: len(node.seals()) == 100)
    verdict = node.asked("verify")
    assert verdict["complete"]
    ticks = [line for line in node.lines("trickle/*/*.jsonl") if line["event"] == "Tick"]
    assert len(ticks) == 100 * 20


def test_threads_forks_and_spawned_children_are_one_run_with_every_event_once(node: Node) -> None:
    node.agent()
    program = node.root / "family.py"
    program.write_text(FAMILY)
    done = node.run_job(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')")
    assert done.returncode == 0, done.stderr
    wait_for("all six are sealed", lambda: len(node.seals()) == 6)
    assert [path.name for path in (node.home / "logs" / "family").iterdir()] == ["one"]
    ticks = [(line["who"], line["number"]) for line in node.lines() if line["event"] == "Tick"]
    names = [f"thread{n}" for n in range(4)] + ["fork0", "fork1", "mp0", "mp1", "spawn"]
    assert sorted(ticks) == sorted((name, number) for name in names for number in range(50))
    assert node.asked("verify", "family/one")["complete"]


def test_without_an_agent_jobs_run_on_and_the_next_agent_ships_everything(node: Node) -> None:
    assert node.run_job(TRICKLE, "3").returncode == 0
    assert not (node.home / "logs").exists()
    node.agent()
    wait_for("all are sealed", lambda: len(node.seals()) == 3)
    assert node.asked("verify")["complete"]
