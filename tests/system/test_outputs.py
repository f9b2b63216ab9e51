"""Outputs that are full, gone or in the way hold up themselves only, and resume by themselves."""

from __future__ import annotations

import signal

from support.node import Node, wait_for

JOB = """
import sys, logferry
with logferry.init(sys.argv[1], run_id=sys.argv[2]) as run:
    for number in range(int(sys.argv[3])):
        run.info("Tick", number=number, text="x" * 100)
    run.result({"ticks": int(sys.argv[3])})
"""


def test_a_run_whose_directory_cannot_be_made_is_held_and_said_and_others_go_on(node: Node) -> None:
    in_the_way = node.home / "logs" / "held" / "r"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the directory should be")
    node.agent()
    assert node.run_job(JOB, "held", "r", "10").returncode == 0
    assert node.run_job(JOB, "free", "r", "10").returncode == 0
    wait_for("the other run is written", lambda: len(node.lines("free/r/*.jsonl")) > 10)
    (held, *_) = wait_for("it is said", lambda: node.asked("status")["agent"]["held"])
    assert str(in_the_way) in held["path"]
    assert held["error"]
    in_the_way.unlink()
    wait_for("it is written after all", lambda: "logferry.seal" in {line["event"] for line in node.lines("held/r/*")})
    wait_for("nothing is held", lambda: not node.asked("status")["agent"]["held"])
    assert node.asked("verify", "held/r")["complete"]


def test_a_result_that_cannot_be_written_is_delayed_and_not_lost(node: Node) -> None:
    node.home.mkdir()
    (node.home / "results").write_text("a file where the directory should be")
    node.agent()
    done = node.run_job(JOB, "exp", "r", "5")
    assert done.returncode == 0
    assert "the result file is delayed" in done.stderr
    (node.home / "results").unlink()
    wait_for("the agent writes it", (node.home / "results" / "exp" / "r.json").exists)
    (row,) = wait_for("it is in the store", lambda: node.asked("results"))
    assert (row["status"], row["metrics"]) == ("COMPLETED", {"ticks": 5})


def test_a_running_log_that_somebody_removes_is_left_alone_and_the_gap_is_marked(node: Node) -> None:
    node.agent()
    job = node.job(
        "import logferry, sys\n"
        "run = logferry.init('exp', run_id='r')\n"
        "for line in sys.stdin:\n"
        "    run.info('Said', line.strip())\n"
        "    print(run.flush(until='written', timeout=20).written, flush=True)\n",
        stdin=-1,
        stdout=-1,
    )
    assert job.stdin is not None
    assert job.stdout is not None
    job.stdin.write(b"one\n")
    job.stdin.flush()
    assert int(job.stdout.readline()) >= 2, "what is checkpointed is not written anew"
    (path,) = (node.home / "logs" / "exp" / "r").glob("*.jsonl")
    path.unlink()
    job.stdin.write(b"two\n")
    job.stdin.close()
    assert job.wait(30) == 0
    wait_for("it is sealed", node.seals)
    said = [line["message"] for line in node.lines() if line["event"] == "Said"]
    (gap,) = wait_for("the gap is marked", lambda: [line for line in node.lines() if line["event"] == "logferry.gap"])
    assert (said, gap["file"]) == (["two"], path.name)
    assert not path.exists()
    assert not node.asked("verify", "exp/r")["complete"]


def test_an_agent_killed_while_it_rotates_and_compresses_repeats_and_loses_nothing(node: Node) -> None:
    node.configure("[agent]\nrotate_bytes = 20000\nfinal_after_s = 0\ncheckpoint_s = 0.05\n")
    job = node.job(JOB, "exp", "r", "30000")
    directory = node.home / "logs" / "exp" / "r"
    for _ in range(4):
        agent = node.agent()
        seen = len(list(directory.glob("*"))) if directory.exists() else 0
        wait_for(
            "it rotates",
            lambda seen=seen: len(list(directory.glob("*"))) > seen + 2 or node.asked("verify")["complete"],
        )
        node.stop(agent, signal.SIGKILL)
    node.agent()
    assert job.wait(60) == 0
    verdict = wait_for(
        "all is written", lambda: (found := node.asked("verify", "exp/r"))["complete"] and found, timeout_s=60
    )
    assert verdict["producers"][0]["written"] > 30000
    wait_for("some of it is compressed", lambda: list(directory.glob("*.jsonl.zst")))
