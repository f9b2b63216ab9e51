"""The agent as a process: starting, being asked, signals, crashes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from logferry.results import read
from support.agents import AgentProcess, lines, logferry, status, wait_for
from support.deadproducer import producer
from support.node import Node

A, B = "aaaaaaaa", "bbbbbbbb"


def test_a_dead_producers_events_are_in_its_running_log_with_a_seal(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    producer(node_dir / "spool", A, 3)
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: not (node_dir / "spool" / A).exists())
        assert agent.stop() == 0
    found = lines(home)
    assert [line["seq"] for line in found] == [f"{A}-1", f"{A}-2", f"{A}-3", "agent-1"]
    assert (found[-1]["event"], found[-1]["emitted"], found[-1]["written"]) == ("logferry.seal", 3, 3)


def test_a_second_agent_on_the_same_node_directory_is_refused_with_the_first_ones_pid(
    node_dir: Path, home: Path
) -> None:
    with AgentProcess(node_dir, home) as first:
        second = logferry("agent", node_dir=node_dir, home=home)
        assert second.returncode == 1
        assert str(first.pid) in second.stderr
        assert status(node_dir, home)["agent"]["pid"] == first.pid


def test_a_killed_agent_is_followed_by_one_that_goes_on_where_it_was_durable(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    for _ in range(3):
        with AgentProcess(node_dir, home) as agent:
            agent.stop(signal.SIGKILL)
    producer(node_dir / "spool", A, 200)
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: lines(home))
        agent.stop(signal.SIGKILL)
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: not (node_dir / "spool" / A).exists())
        agent.stop()
    assert [line["seq"] for line in lines(home)] == [f"{A}-{number}" for number in range(1, 201)] + ["agent-1"]


def test_sigterm_drains_what_dead_producers_left(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    with AgentProcess(node_dir, home) as agent:
        for name in (A, B):
            producer(node_dir / "spool", name, 500)
        assert agent.stop() == 0
    assert sum(line["event"] == "E" for line in lines(home)) == 1000


def test_what_cannot_be_written_is_said_at_the_end_and_a_second_signal_forces(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    home.mkdir()
    (home / "logs").write_text("not a directory")
    producer(node_dir / "spool", A, 2)
    with AgentProcess(node_dir, home, "--drain-s", "30") as agent:
        held = wait_for(lambda: status(node_dir, home)["agent"]["held"])
        assert str(home / "logs") in str(held)
        agent.process.send_signal(signal.SIGTERM)
        agent.process.send_signal(signal.SIGINT)
        assert agent.wait() == 1
        assert "not written yet" in agent.said()
    (home / "logs").unlink()
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: not (node_dir / "spool" / A).exists())
        agent.stop()
    assert [line["seq"] for line in lines(home)] == [f"{A}-1", f"{A}-2", "agent-1"]


def test_sighup_reads_the_configuration_again_and_a_bad_one_changes_nothing(
    root: Path, node_dir: Path, home: Path
) -> None:
    config = root / "logferry.toml"
    config.write_text("[agent]\njournal_bytes = 1048576\n")
    with AgentProcess(node_dir, home, config=config) as agent:
        config.write_text("[agent]\nno_such_key = 1\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "no_such_key" in agent.said())
        assert str(config) in agent.said()
        config.write_text("[agent]\njournal_bytes = 2097152\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "configuration read again" in agent.said())
        assert agent.stop() == 0


def test_sighup_says_that_the_configuration_did_not_change_where_the_levels_set_cannot_be_read(
    node_dir: Path, home: Path
) -> None:
    with AgentProcess(node_dir, home) as agent, contextlib.closing(sqlite3.connect(node_dir / "state.db")) as state:
        state.execute("ALTER TABLE levels RENAME TO elsewhere")
        agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "configuration not changed" in agent.said())
        state.execute("ALTER TABLE elsewhere RENAME TO levels")
        agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "configuration read again" in agent.said())
        assert agent.stop() == 0


def test_check_says_whether_the_configuration_is_valid_and_starts_nothing(
    root: Path, node_dir: Path, home: Path
) -> None:
    config = root / "logferry.toml"
    config.write_text("[agent]\ndrain_s = -1\n")
    bad = logferry("agent", "--check", "--config", str(config), node_dir=node_dir, home=home)
    assert (bad.returncode, "drain_s" in bad.stderr, str(config) in bad.stderr) == (2, True, True)
    config.write_text("[agent]\ndrain_s = 5\n")
    assert logferry("agent", "--check", "--config", str(config), node_dir=node_dir, home=home).returncode == 0
    assert not node_dir.exists()


def test_readiness_is_told_to_a_supervisor_that_asks_for_it(
    root: Path, node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(root / "notify"))
        supervisor.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(root / "notify"))
        with AgentProcess(node_dir, home):
            assert supervisor.recv(100) == b"READY=1"


def test_the_node_directory_says_which_home_is_served_and_the_home_that_an_agent_lives(
    node_dir: Path, home: Path
) -> None:
    with AgentProcess(node_dir, home):
        assert (node_dir / "home").read_text() == f"{home}\n"
        wait_for(lambda: list((home / "agents").glob("*")) if (home / "agents").exists() else None)


def test_a_path_that_no_socket_can_have_is_refused_with_the_way_out(root: Path, home: Path) -> None:
    said = logferry("agent", node_dir=root / ("x" * 120), home=home)
    assert said.returncode == 2
    assert "LOGFERRY_NODE_DIR" in said.stderr


_JOB = """
import logferry, os, sys, time
run = logferry.init("exp", run_id="killed")
run.info("Before")
print("ready", flush=True)
time.sleep(600)
"""


def test_a_run_whose_process_is_killed_becomes_killed_and_keeps_its_last_words(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AgentProcess(node_dir, home):
        job = subprocess.Popen([sys.executable, "-c", _JOB], stdout=subprocess.PIPE, text=True)
        assert job.stdout is not None
        job.stdout.readline()
        job.stdout.close()
        job.kill()
        job.wait(20)
        result = home / "results" / "exp" / "killed.json"
        wait_for(lambda: result.exists() and read(result)["status"] == "KILLED")
        wait_for(lambda: any(line["event"] == "logferry.seal" for line in lines(home)))
    assert "Before" in [line["event"] for line in lines(home)]


def test_the_level_of_a_running_job_changes_at_once(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = "import logferry, time\nrun = logferry.init('exp')\nwhile True:\n run.debug('D'); time.sleep(.005)\n"
    with AgentProcess(node_dir, home):
        job = subprocess.Popen([sys.executable, "-c", loop], env=os.environ | {"LOGFERRY_HOME": str(home)})
        try:
            wait_for(lambda: any(line["event"] == "D" for line in lines(home)))
            said = logferry("level", "exp", "INFO", "--json", node_dir=node_dir, home=home)
            assert json.loads(said.stdout)["producers"] == 1
            wait_for(lambda: _is_quiet(node_dir, home))
            assert logferry("level", "exp", "--reset", node_dir=node_dir, home=home).returncode == 0
            wait_for(lambda: not _is_quiet(node_dir, home))
        finally:
            job.kill()
            job.wait(20)


def _is_quiet(node_dir: Path, home: Path) -> bool:
    before, after = (status(node_dir, home)["agent"]["producers"][0]["expected"] for _ in range(2))
    return bool(before == after)


def test_an_agent_whose_output_is_on_a_full_disk_serves_and_ends_well(node: Node) -> None:
    with open("/dev/full", "wb") as full:
        agent = subprocess.Popen([sys.executable, "-m", "logferry", "agent"], env=node.env, stdout=full, stderr=full)
    node.processes.append(agent)
    wait_for(lambda: node.call("status", "--json").returncode == 0)
    assert node.run_job("import logferry\nwith logferry.init('exp', run_id='r'): pass").returncode == 0
    wait_for(lambda: [seal["end"] for seal in node.seals()] == ["finished"])
    assert node.stop(agent) == 0
