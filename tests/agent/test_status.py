"""Verbs `status` and `level`, with and without an agent."""

from __future__ import annotations

from pathlib import Path

from support.agents import AgentProcess, logferry, status
from support.deadproducer import producer


def test_without_an_agent_status_says_so_and_shows_the_spools_without_touching_their_locks(
    node_dir: Path, home: Path
) -> None:
    process = producer(node_dir / "spool", "aaaaaaaa", 3, wait=True)
    try:
        said = logferry("status", "--json", node_dir=node_dir, home=home)
        assert said.returncode == 1
        (spool,) = status(node_dir, home)["agent"]["producers"]
        assert (spool["producer"], spool["run_id"], spool["pid"]) == ("aaaaaaaa", "run", process.pid)
        assert spool["shed"] == 1
    finally:
        process.kill()
        process.wait(20)


def test_with_an_agent_status_has_the_promised_shape(node_dir: Path, home: Path) -> None:
    with AgentProcess(node_dir, home) as agent:
        found = status(node_dir, home)
        assert found["agent"]["up"]
        assert found["agent"]["held"] == []
        assert found["agent"]["pid"] == agent.pid
        assert not found["collector"]["up"]
        said = logferry("status", node_dir=node_dir, home=home)
        assert (said.returncode, f"pid {agent.pid}" in said.stdout) == (0, True)


def test_jobs_that_name_another_home_are_shown(node_dir: Path, home: Path) -> None:
    process = producer(node_dir / "spool", "aaaaaaaa", 1, wait=True, home="/elsewhere")
    node_dir.chmod(0o700)
    try:
        with AgentProcess(node_dir, home):
            while not (found := status(node_dir, home)["agent"])["producers"]:
                pass
            assert found["other_homes"] == ["/elsewhere"]
    finally:
        process.kill()
        process.wait(20)


def test_a_stopped_agent_that_holds_the_lock_is_said_to_be_silent(node_dir: Path, home: Path) -> None:
    import signal

    with AgentProcess(node_dir, home) as agent:
        agent.process.send_signal(signal.SIGSTOP)
        found = status(node_dir, home)["agent"]
        agent.process.send_signal(signal.SIGCONT)
        assert (found["up"], found["pid"], found["held"][0]["what"]) == (False, agent.pid, "agent")


def test_level_refuses_what_is_no_level_and_says_when_nobody_answers(node_dir: Path, home: Path) -> None:
    wrong = logferry("level", "exp", "LOUD", node_dir=node_dir, home=home)
    assert (wrong.returncode, "DEBUG" in wrong.stderr) == (2, True)
    assert logferry("level", "exp", node_dir=node_dir, home=home).returncode == 2
    alone = logferry("level", "exp", "INFO", node_dir=node_dir, home=home)
    assert (alone.returncode, str(node_dir) in alone.stderr) == (1, True)
