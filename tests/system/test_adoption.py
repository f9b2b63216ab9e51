"""Adoption with real processes: of the dead, of directories that moved, by two at once, and never of the living."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from logferry.results import read
from logferry.settings import load
from logferry_agent.asking import ask
from logferry_agent.processes import is_running
from support.killing import CONFIG, Job, lines_of, service, settle
from support.node import Node, wait_for


def ticks(node: Node, run: str) -> int:
    return sum(line["event"] == "Tick" for line in lines_of(node, run))


def test_a_stopped_producer_is_never_adopted_and_goes_on_whole_after_two_agents(node: Node) -> None:
    node.configure(CONFIG)
    agent = service(node, "agent")
    job = Job(node, "steady", "stopped")
    wait_for("it ships", lambda: ticks(node, "stopped") > 20)
    job.process.send_signal(signal.SIGSTOP)
    before = job.notes()[0]
    node.stop(agent, signal.SIGKILL)
    agent = service(node, "agent")
    other = Job(node, "killed", "other")  # a sign that this agent looks and adopts
    wait_for("the dead one is adopted", (node.home / "results" / "kill" / "other.json").exists)
    wait_for("its spool is removed", lambda: len(list((node.dir / "spool").glob("[!.]*"))) == 1)
    assert read(node.home / "results" / "kill" / "stopped.json")["status"] == "RUNNING"
    assert "logferry.seal" not in {line["event"] for line in lines_of(node, "stopped")}
    job.process.send_signal(signal.SIGCONT)
    wait_for("it goes on", lambda: job.notes()[0] > before + 50)
    settle(node, [job, other], agent)


# Begins a run that does not reach the agent, which knows of it by its spool only; says so, and stays.
UNHEARD = """
import os, sys, logferry
os.environ["LOGFERRY_AGENT"] = "ipc:///nobody"
run = logferry.init("quiet")
run.info("Here")
print(flush=True)
sys.stdin.read()
"""


def test_after_a_quiet_time_who_comes_and_who_is_killed_is_noticed_within_a_second(node: Node) -> None:
    def begin() -> subprocess.Popen[bytes]:
        job = node.job(UNHEARD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert job.stdout
        job.stdout.readline()
        return job

    settings = load(node_dir=str(node.dir), home=str(node.home))

    def known() -> int:
        # From here, because to start whoever asks takes as long as what is measured.
        said = ask(settings, "status", {})
        return len(said["producers"]) if said else -1

    def noticed_s(count: int) -> float:
        began = time.monotonic()
        wait_for("the agent knows", lambda: known() == count)
        return time.monotonic() - began

    node.agent()
    came, went = [], []
    for _ in range(3):  # a try may be slow for the sake of others on this machine
        job = begin()
        wait_for("it is known", lambda: known() == 1)
        time.sleep(2.5)  # the quiet time
        other = begin()
        came.append(noticed_s(2))
        for process in (other, job):
            process.kill()
            process.wait(20)
        went.append(noticed_s(0))
        # After a death the seal is written and checkpointed, too.
        if min(came) < 1 and min(went) < 2.5:
            return
    pytest.fail(f"noticed after {came} and {went} s")


def test_of_two_agents_that_start_at_once_one_serves_and_the_other_says_whom(node: Node) -> None:
    node.configure(CONFIG)
    jobs = [Job(node, "killed", f"r{number}") for number in range(3)]
    for job in jobs:
        job.process.wait(40)
    agents = [service(node, "agent") for _ in range(3)]
    wait_for("two give up", lambda: sum(agent.poll() is not None for agent in agents) == 2)
    (winner,) = [agent for agent in agents if agent.poll() is None]
    assert [agent.returncode for agent in agents if agent is not winner] == [1, 1]
    assert node.said_by("agent").count(f"an agent with pid {winner.pid} serves {node.dir} already") == 2
    settle(node, jobs, winner)


def test_a_node_directory_that_was_brought_over_is_finished_by_an_agent_elsewhere(node: Node, root: Path) -> None:
    node.configure(CONFIG)
    agent = service(node, "agent")
    jobs = [Job(node, "steady", "steady"), Job(node, "killed", "killed")]
    wait_for("it is written", lambda: ticks(node, "steady") > 50)
    node.stop(agent, signal.SIGKILL)
    count = jobs[0].notes()[0]
    wait_for("some are in the spool only", lambda: jobs[0].notes()[0] > count + 20)
    node.stop(jobs[0].process, signal.SIGKILL)
    jobs[1].process.wait(40)
    for name in ("node", "home"):  # other inodes, another path
        subprocess.run(["cp", "-a", str(root / name), str(root / f"{name}2")], check=True)
        shutil.rmtree(root / name)
    node.dir, node.home = root / "node2", root / "home2"
    node.env |= {"LOGFERRY_NODE_DIR": str(node.dir), "LOGFERRY_HOME": str(node.home)}
    jobs[0].kind = "killed"
    settle(node, jobs, service(node, "agent"))


def test_spools_from_another_node_beside_living_producers_are_adopted_there(node: Node, root: Path) -> None:
    node.configure(CONFIG)
    dead = Job(node, "killed", "dead")
    dead.process.wait(40)
    (spool,) = (node.dir / "spool").glob("[!.]*")
    away = root / "away"
    shutil.move(spool, away)
    living = Job(node, "steady", "living")
    agent = service(node, "agent")
    wait_for("it ships", lambda: ticks(node, "living") > 20)
    # What an operator does: copy under a name with a dot, then rename, so that no half is seen.
    subprocess.run(["cp", "-a", str(away), str(spool.with_name(f".new-{spool.name}"))], check=True)
    spool.with_name(f".new-{spool.name}").rename(spool)
    wait_for("it is adopted", lambda: not spool.exists())
    assert living.process.poll() is None
    settle(node, [dead, living], agent)


def test_a_reused_pid_keeps_no_dead_producer_alive() -> None:
    start = int(Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    about = {"pid": os.getpid(), "pid_start": start, "boot_id": boot}
    assert is_running(about)
    assert not is_running(about | {"pid_start": start - 1})
    assert not is_running(about | {"boot_id": "another"})


def test_a_spool_waits_while_the_journal_is_over_budget_because_of_its_run_and_is_whole_afterwards(node: Node) -> None:
    node.configure(f"{CONFIG}journal_bytes = 1048576\n")
    in_the_way = node.home / "logs" / "kill" / "held"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the directory should be")
    agent = service(node, "agent")
    first = Job(node, "killed", "held")
    wait_for("it is held", lambda: node.asked("status")["agent"]["held"])
    big = node.job(
        "import logferry, os\nrun = logferry.init('kill', run_id='held')\n"
        "for number in range(8000):\n    run.info('Big', number=number, text='y' * 200)\n"
        "run.flush('spooled')\nos.kill(os.getpid(), 9)"
    )
    assert big.wait(60) == -9
    wait_for("it is over its budget", lambda: node.asked("status")["agent"]["journal_bytes"] > 1 << 20)
    free = Job(node, "killed", "free")
    wait_for("another run is not slowed", lambda: ticks(node, "free") == 700)
    late = Job(node, "killed", "held")
    assert late.process.wait(40) == -9
    wait_for("only the held run's spools are left", lambda: len(list((node.dir / "spool").glob("[!.]*"))) == 3)

    def of_the_late_one() -> list[dict[str, Any]]:
        return [one for one in node.asked("status")["agent"]["producers"] if one["pid"] == late.process.pid]

    (waits,) = wait_for("the agent knows the late one", of_the_late_one)
    assert (waits["durable"], waits["sealed"]) == (0, False)
    used = sum(path.stat().st_size for path in (node.dir / "journal").glob("*.jnl"))
    assert used < 3 << 20
    in_the_way.unlink()
    wait_for("all is adopted", lambda: not list((node.dir / "spool").glob("[!.]*")))
    big_ones = [line["number"] for line in lines_of(node, "held") if line["event"] == "Big"]
    assert big_ones == list(range(8000))
    assert first.process.wait(40) == -9
    assert ticks(node, "held") == 1400
    settle(node, [free], agent)
