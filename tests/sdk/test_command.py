"""`logferry exec`: a command that knows nothing of logferry leaves events, a result and its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.node import Node
from support.spools import abouts, named, result, spooled

EXEC = [sys.executable, "-m", "logferry", "exec", "--experiment", "exp", "--run", "r", "--"]


def _exec(node: Node, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*EXEC, *command], env=node.env, capture_output=True, timeout=60, check=False)


def _shell(node: Node, script: str) -> subprocess.CompletedProcess[bytes]:
    return _exec(node, "sh", "-c", script)


def _lines(node: Node) -> list[tuple[str, str]]:
    """Return (stream, text) of each line of output."""
    events = [event for events in spooled(node).values() for event in events]
    return [(fields["stream"], message) for _, _, name, message, fields in events if name == "Output"]


def test_output_lines_become_events_and_still_appear_where_they_would_have(node: Node) -> None:
    done = _shell(node, "echo one; echo two; echo three >&2; printf four")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\ntwo\nfour", b"three\n")
    assert [text for stream, text in _lines(node) if stream == "stdout"] == ["one", "two", "four"]
    assert [text for stream, text in _lines(node) if stream == "stderr"] == ["three"]


def test_the_command_and_its_end_are_events_and_the_result_says_how_it_ended(node: Node) -> None:
    assert _shell(node, "exit 0").returncode == 0
    assert named(node, "CommandStarted") == [{"command": ["sh", "-c", "exit 0"]}]
    assert named(node, "CommandEnded") == [{"code": 0}]
    assert (result(node)["status"], result(node)["exit"]) == ("COMPLETED", {"code": 0})


def test_the_exit_code_is_the_commands(node: Node) -> None:
    assert _shell(node, "exit 7").returncode == 7
    assert (result(node)["status"], result(node)["exit"]) == ("FAILED", {"code": 7})


def test_a_command_that_is_killed_leaves_a_result_that_names_the_signal(node: Node) -> None:
    assert _shell(node, "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert (result(node)["status"], result(node)["exit"]) == ("KILLED", {"signal": "SIGKILL"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on_and_the_command_decides(node: Node, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo caught {name}; exit 9' {name}; echo ready; while :; do sleep 0.02; done"
    with subprocess.Popen([*EXEC, "sh", "-c", script], env=node.env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 9
    assert ("stdout", f"caught {name}") in _lines(node)


def test_what_the_command_says_goes_into_no_file_of_ours_where_nobody_is_to_see_it(node: Node) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *EXEC, "sh", "-c", "echo one >&2; echo two"],
        env=node.env,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"two\n")
    assert sorted(_lines(node)) == [("stderr", "one"), ("stdout", "two")]
    (lock,) = node.dir.glob("spool/*/lock")
    assert lock.read_bytes() == b""


ASIDE = """
import os, signal, sys, threading, time, logferry.command
def aside():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=aside).start()
script = f"trap 'exit 9' TERM; touch {sys.argv[1]}; while :; do sleep 0.02; done"
sys.exit(logferry.command.exec_(["--experiment", "exp", "--", "sh", "-c", script]))
"""


def test_a_signal_that_does_not_interrupt_the_waiting_is_passed_on_all_the_same(node: Node) -> None:
    # One that arrives just before the wait begins is like one that another thread takes: nothing wakes the main thread.
    process = node.job(ASIDE, str(node.root / "ready"))
    assert process.wait(10) == 9


def test_of_a_progress_bar_only_the_last_state_is_an_event(node: Node) -> None:
    done = _shell(node, r"printf ' 10%%\r 50%%\r100%%\n'; printf 'dos\r\n'; printf '\n   \n'")
    assert done.stdout == b" 10%\r 50%\r100%\ndos\r\n\n   \n"
    assert [text for _, text in _lines(node)] == ["100%", "dos"]


def test_a_line_without_an_end_is_cut_into_events_of_bounded_size(node: Node) -> None:
    done = _exec(node, sys.executable, "-c", "print('x' * 300_000)")
    assert len(done.stdout) == 300_001
    texts = [text for _, text in _lines(node)]
    assert "".join(texts) == "x" * 300_000
    assert max(map(len, texts)) <= 128 << 10


def test_output_that_is_no_text_is_an_event_with_escapes(node: Node) -> None:
    assert _shell(node, r"printf '\377\000caf\303\251\n'").stdout == b"\xff\0caf\xc3\xa9\n"
    assert _lines(node) == [("stdout", "\\xff\0café")]


def test_a_grandchild_that_keeps_the_pipes_does_not_hold_up_the_end(node: Node) -> None:
    code = "import sys, logferry.command as command\ncommand._REST_S = 0.3\nsys.exit(command.exec_(sys.argv[1:]))"
    arguments = ["--experiment", "exp", "--", "sh", "-c", "echo pid; sleep 60 & echo $!"]
    # To a file: the grandchild has the output of `exec` itself as well, and `run` would wait for its end.
    out = node.root / "out"
    with out.open("wb") as file:
        process = node.job(code, *arguments, stdout=file, stderr=file)
        assert process.wait(10) == 0
    os.kill(int(out.read_text().split()[1]), signal.SIGKILL)
    assert result(node)["status"] == "COMPLETED"
    assert len(_lines(node)) == 2


def test_a_reader_that_has_gone_does_not_end_the_events(node: Node) -> None:
    script = "echo one; sleep 0.2; for n in 1 2 3; do echo $n; done"
    with subprocess.Popen([*EXEC, "sh", "-c", script], env=node.env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
    assert [text for _, text in _lines(node)] == ["one", "1", "2", "3"]


def test_the_commands_input_is_its_own(node: Node) -> None:
    done = subprocess.run([*EXEC, "cat"], env=node.env, input=b"typed\n", capture_output=True, timeout=60, check=False)
    assert done.stdout == b"typed\n"


def test_a_command_that_does_know_logferry_joins_the_run(node: Node) -> None:
    code = "import logferry\nwith logferry.init('exp') as run: run.info('Inner'); run.result({'accuracy': 1})"
    assert _exec(node, sys.executable, "-c", code).returncode == 0
    assert {about["run_id"] for about in abouts(node).values()} == {"r"}
    assert len(named(node, "Inner")) == 1
    assert result(node)["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiment", "exp", "--", "/no/such/command"], "'/no/such/command' is not an executable command"),
        (["--experiment", "../up", "--", "true"], "experiment id '../up' begins with a dot"),
        (["--experiment", "exp", "--run", "a/b", "--", "true"], "run id 'a/b' contains '/'"),
        (["--", "true"], "--experiment"),
        (["--experiment", "exp"], "CMD"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error_that_says_why(node: Node, arguments: list[str], said: str) -> None:
    done = node.call("exec", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (node.home / "results").exists()


def test_a_file_that_the_system_cannot_execute_fails_the_run_and_is_said(node: Node) -> None:
    script = node.root / "script"
    script.write_text("no interpreter is named here")
    script.chmod(0o755)
    done = node.call("exec", "--experiment", "exp", "--", str(script))
    assert done.returncode == 2
    assert done.stderr == f"logferry: exec: '{script}' cannot be executed: Exec format error\n"
    assert result(node)["status"] == "FAILED"
