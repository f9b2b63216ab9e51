"""How a process ends becomes how its run ends, within two seconds, whatever is broken."""

from __future__ import annotations

import signal
import subprocess

import pytest
import zmq

from support.node import Node
from support.spools import named, result, results, spooled

OPEN = "import os, signal, sys, time, logferry\nrun = logferry.init('exp', run_id='r')\nrun.info('Began')\n"

WRAPPED = """
def main():
  try:
    sys.exit(3)
  except SystemExit as error:
    raise RuntimeError from error
def runner():
  try:
    main()
  except RuntimeError:
    pass
runner()
"""

IN_TASK = "import asyncio\nasync def task(code):\n  await asyncio.sleep(0)\n  sys.exit(code)\n"


@pytest.mark.parametrize(
    ("code", "exit_code", "status", "how"),
    [
        ("", 0, "COMPLETED", None),
        ("run.finish()", 0, "COMPLETED", None),
        ("run.finish('KILLED')", 0, "KILLED", None),
        ("sys.exit()", 0, "COMPLETED", None),
        ("sys.exit(0)", 0, "COMPLETED", None),
        ("sys.exit(3)", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        ("sys.exit('no data')", 1, "FAILED", {"code": 1, "exception": "SystemExit: no data"}),
        ("def main():\n  sys.exit(3)\nmain()", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        ("try:\n  sys.exit(3)\nfinally:\n  time.time()", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        ("try:\n  sys.exit(3)\nexcept SystemExit:\n  raise", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        ("try:\n  sys.exit(3)\nexcept SystemExit:\n  pass", 0, "COMPLETED", None),
        ("def main():\n  try:\n    sys.exit(3)\n  except SystemExit:\n    pass\nmain()", 0, "COMPLETED", None),
        (WRAPPED, 0, "COMPLETED", None),
        ("exit(3)", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        ("quit('no data')", 1, "FAILED", {"code": 1, "exception": "SystemExit: no data"}),
        ("exit()", 0, "COMPLETED", None),
        ("exit(code=0)", 0, "COMPLETED", None),
        (IN_TASK + "asyncio.run(task(3))", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        (IN_TASK + "asyncio.run(task(0))", 0, "COMPLETED", None),
        (IN_TASK + "def main(): asyncio.run(task(3))\nmain()", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        (
            IN_TASK + "try: asyncio.run(task(3))\nfinally: print()",
            3,
            "FAILED",
            {"code": 3, "exception": "SystemExit: 3"},
        ),
        (IN_TASK + "try: asyncio.run(task(3))\nexcept SystemExit as error: kept = error", 0, "COMPLETED", None),
        (IN_TASK + "def main():\n  try: asyncio.run(task(3))\n  except SystemExit: pass\nmain()", 0, "COMPLETED", None),
        ("with run:\n  sys.exit(3)", 3, "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KILLED", {"signal": "SIGINT"}),
        ("os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)", -signal.SIGINT, "KILLED", {"signal": "SIGINT"}),
        ("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)", -signal.SIGTERM, "KILLED", {"signal": "SIGTERM"}),
        ("os.kill(os.getpid(), signal.SIGHUP)\ntime.sleep(9)", -signal.SIGHUP, "KILLED", {"signal": "SIGHUP"}),
    ],
)
def test_the_end_of_the_process_is_the_end_of_its_run(
    node: Node, code: str, exit_code: int, status: str, how: object
) -> None:
    assert node.run_job(OPEN + code).returncode == exit_code
    document = result(node)
    assert (document["status"], document["exit"]) == (status, how)
    assert named(node, "ExperimentCompleted") == [{"experiment_id": "exp", "status": status}]
    (end,) = named(node, "logferry.end")
    implied = end.pop("implied", False)
    assert end == {"status": status, "exit": how}
    assert implied in {False, status == "COMPLETED"}


@pytest.mark.parametrize("code", ["", "raise SystemExit(3)", "run.info('Last')"])
def test_an_end_of_which_nothing_is_seen_is_only_implied(node: Node, code: str) -> None:
    node.run_job(OPEN + code)
    assert named(node, "logferry.end") == [{"status": "COMPLETED", "exit": None, "implied": True}]


@pytest.mark.parametrize("code", ["1 / 0", "with run:\n  1 / 0", "try:\n  1 / 0\nfinally:\n  sys.stdout.flush()"])
def test_an_exception_that_nobody_caught_fails_the_run_with_its_traceback(node: Node, code: str) -> None:
    done = node.run_job(OPEN + code)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    document = result(node)
    assert document["status"] == "FAILED"
    assert document["exit"]["exception"] == "ZeroDivisionError: division by zero"
    assert "Traceback (most recent call last)" in document["exit"]["traceback"]
    assert [fields["traceback"] for fields in named(node, "ExperimentFailed")] == [document["exit"]["traceback"]]


def test_an_uncaught_exception_fails_the_run_whatever_hook_shows_it(node: Node) -> None:
    node.run_job(OPEN + "sys.excepthook = lambda *_: None\n1 / 0")
    assert result(node)["exit"]["exception"] == "ZeroDivisionError: division by zero"


def test_an_exception_that_was_shown_before_the_run_began_is_none_of_its(node: Node) -> None:
    node.run_job("import sys\nsys.last_value = ValueError('in a cell before')\n" + OPEN)
    assert result(node)["status"] == "COMPLETED"


def test_an_exception_whose_own_text_is_broken_fails_the_run_all_the_same(node: Node) -> None:
    node.run_job(OPEN + "class Bad(Exception):\n  def __str__(self): raise ValueError\nraise Bad")
    assert result(node)["exit"]["exception"] == "Bad"


def test_a_handler_of_the_users_own_decides_about_its_signal(node: Node) -> None:
    done = node.run_job(
        "import os, signal, sys, logferry\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "run = logferry.init('exp')\nos.kill(os.getpid(), signal.SIGTERM)"
    )
    assert done.returncode == 7
    assert result(node)["exit"] == {"code": 7, "exception": "SystemExit: 7"}


def test_everything_that_is_watched_is_put_back_when_the_last_run_ends(node: Node) -> None:
    done = node.run_job(
        "import builtins, os, signal, sys, logferry\n"
        "def watched():\n"
        "  return sys.exit, builtins.exit, builtins.quit, signal.getsignal(15), 'LOGFERRY_PARENT' in os.environ\n"
        "before = watched()\nfirst = logferry.init('exp')\nsecond = logferry.init('exp')\n"
        "assert all(new != old for new, old in zip(watched(), before, strict=True))\n"
        "first.finish()\nassert watched() != before\nsecond.finish()\nassert watched() == before"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(5)"])
def test_what_was_logged_survives_an_end_that_python_does_not_see(node: Node, end: str) -> None:
    node.run_job(OPEN + f"for n in range(5000): run.info('Tick', n=n)\n{end}")
    assert [fields["n"] for fields in named(node, "Tick")] == list(range(5000))
    assert named(node, "logferry.end") == []
    assert result(node)["status"] == "RUNNING"


def test_exec_ends_the_run_and_the_new_program_has_one_of_its_own(node: Node) -> None:
    again = "import logferry; logferry.init('exp').info('After')"
    done = node.run_job(OPEN + f"os.execv(sys.executable, [sys.executable, '-c', {again!r}])")
    assert done.returncode == 0, done.stderr
    assert len(spooled(node)) == 2
    first, second = sorted(results(node), key=lambda document: document["run_id"] == "r", reverse=True)
    assert (first["run_id"], second["status"]) == ("r", "COMPLETED")
    assert second["run_id"] != "r"


def test_two_runs_that_are_open_at_the_end_both_end(node: Node) -> None:
    node.run_job("import logferry\nlogferry.init('exp')\nlogferry.init('exp')\n1 / 0")
    assert [document["status"] for document in results(node)] == ["FAILED", "FAILED"]


def test_a_results_directory_in_the_way_delays_the_result_and_not_the_end(node: Node) -> None:
    node.home.mkdir()
    (node.home / "results").write_text("a file where the directory should be")
    done = node.run_job(OPEN + "began = time.monotonic()\nrun.finish()\nassert time.monotonic() - began < 2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("logferry: ") == 1
    documents = named(node, "logferry.result")
    assert [document["status"] for document in documents] == ["RUNNING", "COMPLETED"]


# A fifth of both budgets; four times that is allowed, for a machine that has much else to do.
SHORTLY = """
import time, logferry.run
from logferry import results
assert (logferry.run.FINISH_S, logferry.run._CLAIM_S) == (2, 2)
logferry.run.FINISH_S = logferry.run._CLAIM_S = 0.4
"""
HANGING = SHORTLY + "results.{function} = lambda *_: time.sleep(60)\n"


@pytest.mark.parametrize("function", ["create", "replace"])
def test_a_file_system_that_hangs_holds_up_start_and_end_for_their_budget_at_most(node: Node, function: str) -> None:
    done = node.run_job(
        HANGING.format(function=function)
        + "began = time.monotonic()\n"
        + OPEN
        + "assert time.monotonic() - began < 1.6\n"
        + "began = time.monotonic()\nrun.finish()\nassert time.monotonic() - began < 1.6"
    )
    assert done.returncode == 0, done.stderr
    assert named(node, "logferry.result")[-1]["status"] == "COMPLETED"


def test_without_a_spool_the_events_are_in_memory_and_one_line_says_so(node: Node) -> None:
    node.dir.write_text("a file where the node directory should be")
    done = node.run_job(
        SHORTLY + OPEN + "assert run.flush('spooled').spooled == 0\n"
        "began = time.monotonic()\nrun.finish()\nassert time.monotonic() - began < 1.6"
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"node directory {node.dir} is a file, not a directory" in line
    assert result(node)["status"] == "COMPLETED"


def test_an_agent_that_hangs_does_not_hold_up_the_end(node: Node) -> None:
    node.dir.mkdir(mode=0o700)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as deaf:
        deaf.linger = 0
        deaf.bind(f"ipc://{node.dir}/agent.sock")
        done = node.run_job(OPEN + "began = time.monotonic()\nrun.finish()\nassert time.monotonic() - began < 2")
    assert done.returncode == 0, done.stderr
    assert result(node)["status"] == "COMPLETED"


def test_logging_after_the_end_does_nothing_and_one_line_of_each_kind_says_so(node: Node) -> None:
    done = node.run_job(OPEN + "run.finish()\nfor n in range(9): run.error('Late'); run.result({'n': n})")
    assert done.returncode == 0
    late = "came after its run was finished; it is not kept"
    assert done.stderr == f"logferry: an event {late}\nlogferry: a result {late}\n"
    assert named(node, "Late") == []
    assert result(node)["metrics"] == {}


def test_a_second_end_and_an_unknown_status_harm_nothing(node: Node) -> None:
    done = node.run_job(OPEN + "run.finish('done')\nrun.finish('COMPLETED')")
    assert done.returncode == 0
    assert "expected one of COMPLETED, FAILED, KILLED" in done.stderr
    assert result(node)["status"] == "FAILED"


def test_a_signal_during_the_end_still_ends_the_process_by_that_signal(node: Node) -> None:
    slow = "import time\nfrom logferry import results\nreplace = results.replace\n"
    slow += "def later(*a): print('saving', flush=True); time.sleep(0.3); replace(*a)\n"
    code = slow + OPEN + "time.sleep(0.1)\nresults.replace = later\nrun.finish()"
    process = node.job(code, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert node.stop(process) == -signal.SIGTERM
    assert result(node)["status"] in {"COMPLETED", "KILLED"}
