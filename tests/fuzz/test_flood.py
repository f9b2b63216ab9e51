"""Rubbish at a real agent, in its socket and in its spools, and honest jobs beside it that must not notice."""

from __future__ import annotations

import random
import socket
import subprocess
from pathlib import Path

import zmq

from mutation import Mutator, split
from real import real
from support.depth import sized
from support.node import Node, wait_for
from targets import frames, spools

SEED = 7
FRAMES, CONNECTIONS, SPOOLS = sized(600, 1500), 20, sized(20, 40)
# Logs while the flood goes on.
JOB = """
import logferry, sys
with logferry.init("honest", run_id=sys.argv[1]) as run:
    for number in range(2000):
        run.info("Step", step=number)
        if number % 100 == 0:
            run.flush(timeout=10)
"""


def flood(node: Node, chance: random.Random) -> None:
    """Send mutated frames on one connection after the other, and bytes that are no ZeroMQ at all."""
    mutator = Mutator(frames.seeds(), chance)
    context = zmq.Context()
    for _ in range(CONNECTIONS):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(f"{node.dir}/agent.sock")
            raw.sendall(chance.choice((b"", b"\xff" + bytes(8) + b"\x7f\x03\x00NULL")) + chance.randbytes(200))
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger = 2000
            dealer.sndtimeo = 2000
            dealer.connect(f"ipc://{node.dir}/agent.sock")
            for _ in range(FRAMES // CONNECTIONS):
                for kind, body in split(mutator.next())[1]:
                    frame = frames._frame(kind, body, mend=chance.random() < 0.7)
                    dealer.send_multipart(frame if chance.random() < 0.95 else frame * 5)
    context.term()


def plant(node: Node, chance: random.Random) -> None:
    """Put what dead producers could have left into the spool directory."""
    mutator = Mutator(spools.seeds(), chance)
    for number in range(SPOOLS):
        directory = node.dir / "spool" / f"dead{number:06}"
        directory.mkdir(parents=True, mode=0o700)
        for kind, body in split(mutator.next())[1]:
            spools._write(directory / spools._NAMES[kind % len(spools._NAMES)], body, mend=True)
        (directory / "lock").touch()
        if chance.random() < 0.5:
            (directory / "hello").write_bytes(real().spools[0]["hello"])


def left(node: Node) -> set[str]:
    return {path.name for path in (node.dir / "spool").glob("dead*")}


def held(node: Node) -> set[str]:
    problems = node.asked("status")["agent"]["held"]
    return {Path(one["path"]).parent.name for one in problems if one["what"] == "spool"}


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def test_honest_jobs_are_complete_while_an_agent_is_flooded_with_rubbish(node: Node) -> None:
    chance = random.Random(SEED)
    node.dir.mkdir(mode=0o700)
    plant(node, chance)
    agent = node.agent()
    names = ["one", "two"]
    jobs = [node.job(JOB, name) for name in names]
    before = resident_bytes(agent)
    flood(node, chance)
    for job in jobs:
        assert job.wait(60) == 0
    for name in names:
        wait_for("the job is sealed", lambda name=name: node.asked("verify", f"honest/{name}")["complete"])
    known = node.asked("status")["agent"]
    assert known["up"]
    assert known["frames"] > FRAMES // 2
    assert len(known["refused"]) >= 3
    assert known["refused"].get("unexpected", 0) == 0
    wait_for("every spool is adopted, set aside, or held for a later version", lambda: left(node) <= held(node))
    assert resident_bytes(agent) - before < 100 << 20
    assert "Traceback" not in node.said_by("agent")
    assert node.stop(agent) == 0
