"""Threads log while another one finishes their run: what returned before is kept, and what is not kept is said."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from support.node import Node
from support.spools import abouts, spooled

ROUNDS = 25
LATE = "logferry: an event came after its run was finished; it is not kept\n"

# Each thread says how many of its calls had returned before `finish` began, and how many it made.
JOB = """
import json, sys, threading, time, logferry
sys.setswitchinterval(1e-5)
def work(log, name):
    number = before = late = 0
    while late < 5:
        late += finished.is_set()
        number += 1
        log(number, name, "x" * (number * 997 % 5000))
        if not finishing.is_set():
            before = number
        time.sleep(0.0001)
    made[name] = before, number
for turn in range(ROUNDS):
    run = logferry.init("exp", run_id=f"r{turn}")
    finishing, finished, made = threading.Event(), threading.Event(), {}
    LOG
    threads = [threading.Thread(target=work, args=(log, name)) for name in "abc"]
    for thread in threads: thread.start()
    for number in range(40 * (turn % 5)): run.info("Main", number=number)
    finishing.set()
    run.finish()
    finished.set()
    for thread in threads: thread.join()
    print(json.dumps(made))
""".replace("ROUNDS", str(ROUNDS))

# How a thread logs, and whether it is told that it came too late. `logferry.info` does nothing where there is no run,
# and is told only if it found the run before that was finished.
WAYS = {
    "the run": ("log = lambda n, t, x: run.info('Call', n=n, t=t, x=x)", True),
    "a bound logger": ("log = lambda n, t, x: run.bind(b=1).warning('Call', n=n, t=t, x=x)", True),
    "odd values": ("log = lambda n, t, x: run.info('Call', n=n, t=t, x=[x, {1}])", True),
    "the module": ("log = lambda n, t, x: logferry.info('Call', n=n, t=t, x=x)", False),
}


@pytest.mark.parametrize("way", WAYS)
def test_calls_that_returned_before_finish_are_kept_and_of_the_others_a_beginning(node: Node, way: str) -> None:
    how, is_told = WAYS[way]
    done = node.run_job(JOB.replace("LOG", how))
    assert done.returncode == 0, done.stderr
    assert done.stderr == LATE or not (done.stderr or is_told)
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == ROUNDS
    kept: dict[tuple[str, str], list[int]] = defaultdict(list)
    runs = {producer: about["run_id"] for producer, about in abouts(node).items()}
    for producer, events in spooled(node).items():
        for _, _, name, _, fields in events:
            if name == "Call":
                kept[runs[producer], fields["t"]].append(fields["n"])
    for turn, made in enumerate(rounds):
        for thread, (before, calls) in made.items():
            numbers = kept[f"r{turn}", thread]
            assert numbers == list(range(1, len(numbers) + 1)), "a call in the middle is missing, repeated or swapped"
            assert before <= len(numbers) <= calls - 4, f"{before} of {calls} calls had returned when the run finished"
