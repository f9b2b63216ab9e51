"""An agent serves one home: a job whose environment names another is told so, and `status` shows it."""

from __future__ import annotations

from support.node import Node

JOB = """
import logferry, sys
run = logferry.init("exp", run_id="r")
run.result({"n": 1})
run.flush(until="written", timeout=20)
print("ready", flush=True)
sys.stdin.readline()
run.finish()
"""


def test_while_an_agent_runs_jobs_use_its_home_and_one_that_names_another_is_told_and_shown(node: Node) -> None:
    agent = node.agent()
    node.env["LOGFERRY_HOME"] = elsewhere = str(node.root / "elsewhere")
    job = node.job(JOB, stdin=-1, stdout=-1, stderr=-1)
    assert job.stdout is not None
    assert job.stdout.readline() == b"ready\n"
    assert node.asked("status")["agent"]["other_homes"] == [elsewhere]
    _, said = job.communicate(b"\n", timeout=30)
    assert said.decode().count(str(node.home)) == 1
    assert (node.home / "results" / "exp" / "r.json").exists()
    assert node.lines("exp/r/*.jsonl")
    assert not (node.root / "elsewhere" / "results").exists()
    node.stop(agent)


def test_a_job_that_names_no_home_uses_the_agents_without_a_word(node: Node) -> None:
    node.agent()
    del node.env["LOGFERRY_HOME"]
    job = node.job(JOB, stdin=-1, stdout=-1, stderr=-1)
    assert job.stdout is not None
    assert job.stdout.readline() == b"ready\n"
    assert node.asked("status")["agent"]["other_homes"] == []
    _, said = job.communicate(b"\n", timeout=30)
    assert said == b""
    assert (node.home / "results" / "exp" / "r.json").exists()
