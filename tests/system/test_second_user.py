"""Somebody else on the same machine gets nothing: not the socket, not the spool, not what will be written."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from logferry.layout import LayoutError, is_own_node_dir, prepare_node_dir
from support import seconduser
from support.node import Node

JOB = """
import logferry
with logferry.init("exp", run_id="r") as run:
    run.info("Secret", password="hunter2")
    run.result({"n": 1})
    run.flush(timeout=1)
"""

LOOK = """
node = Path(sys.argv[1])
for what in (node, node / "agent.sock", node / "spool", node / "journal", node / "state.db", node / "agent.lock"):
    try:
        os.listdir(what) if what.suffix == "" else what.open().close()
        print("could read", what)
    except PermissionError:
        pass
    for change in (lambda: what.rename("/tmp/taken"), lambda: what.unlink(), lambda: os.link(what, "/tmp/taken")):
        try:
            change()
            print("could change", what)
        except (PermissionError, IsADirectoryError):
            pass
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(what))
            print("could connect", what)
        except PermissionError:
            pass
"""

# A node directory of its own, with everything that a job looks for: a lock that is held, a home, a socket that answers.
IMPOSTOR = """
node = Path(sys.argv[1])
node.mkdir(mode=0o777)
lock = open(node / "agent.lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
(node / "home").write_text(sys.argv[2] + "\\n")
router = zmq.Context().socket(zmq.ROUTER)
router.bind(f"ipc://{node}/agent.sock")
os.chmod(node / "agent.sock", 0o777)
print("ready", flush=True)
poller = zmq.Poller()
poller.register(router, zmq.POLLIN)
poller.register(sys.stdin, zmq.POLLIN)
while sys.stdin.fileno() not in dict(poller.poll()):
    print(router.recv_multipart(), flush=True)
"""

RACE = """
here, other = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end and not other.with_name("stop").exists():
    make = (lambda: here.symlink_to(other), lambda: here.unlink(), lambda: here.mkdir(mode=0o777), lambda: here.rmdir())
    for change in make:
        try:
            change()
        except OSError:
            pass
"""


@pytest.fixture
def shared(root: Path) -> Path:
    """A directory like /var/tmp."""
    root.chmod(0o755)
    path = root / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def impostor(shared: Path, root: Path) -> Iterator[subprocess.Popen[str]]:
    process = seconduser.start(IMPOSTOR, shared / "node", shared / "stolen")
    yield process
    with process:
        process.kill()


def test_the_node_directory_of_a_running_agent_gives_another_user_nothing(node: Node, shared: Path) -> None:
    node.dir = shared / "node"
    node.env["LOGFERRY_NODE_DIR"] = str(node.dir)
    node.agent()
    node.run_job(JOB)
    assert seconduser.run(LOOK, node.dir) == ""


def test_a_node_directory_that_another_user_made_first_gets_no_event_and_no_say(
    node: Node, shared: Path, impostor: subprocess.Popen[str]
) -> None:
    node.env["LOGFERRY_NODE_DIR"] = str(shared / "node")
    done = node.run_job(JOB)
    assert done.returncode == 0, done.stderr
    assert f"node directory {shared}/node belongs to user {seconduser.UID}" in done.stderr
    assert (node.home / "results" / "exp" / "r.json").exists()
    assert not (shared / "stolen").exists()
    assert node.asked("status")["agent"]["up"] is False
    assert node.call("level", "exp", "DEBUG").returncode == 1
    agent = node.call("agent")
    assert agent.returncode != 0
    assert "belongs to user" in agent.stderr
    heard, _ = impostor.communicate("\n", timeout=20)
    assert heard == ""


def test_no_race_for_the_name_ends_in_a_directory_that_is_not_ours(shared: Path, root: Path) -> None:
    target = root / "target"
    target.mkdir()
    target.chmod(0o755)
    here = shared / "node"
    racer = seconduser.start(RACE, here, target)
    won = refused = 0
    try:
        deadline = time.monotonic() + 50
        while (won < 20 or refused < 20) and time.monotonic() < deadline:
            try:
                node = prepare_node_dir(here)
            except LayoutError:
                refused += 1
                continue
            won += 1
            found = node.path.lstat()
            assert (found.st_uid, found.st_mode & 0o7777) == (os.geteuid(), 0o700)
            assert is_own_node_dir(here)
            here.rmdir()
    finally:
        (root / "stop").touch()
        racer.communicate(timeout=20)
    assert won >= 20
    assert refused >= 20
    assert not list(target.iterdir())
    assert target.stat().st_mode & 0o777 == 0o755


def test_what_others_left_in_a_directory_that_was_open_to_them_is_not_taken_over(shared: Path) -> None:
    here = shared / "node"
    here.mkdir()
    here.chmod(0o777)
    seconduser.run("os.mkdir(sys.argv[1])", here / "spool")
    for _ in range(2):  # also when it is closed by now
        with pytest.raises(LayoutError, match=rf"holds 'spool' of user {seconduser.UID}"):
            prepare_node_dir(here)
        assert not is_own_node_dir(here)
    (here / "spool").rmdir()
    assert prepare_node_dir(here).path == here


def test_a_directory_that_anybody_may_rename_is_refused(root: Path) -> None:
    root.chmod(0o777)
    with pytest.raises(LayoutError, match="everybody may rename it"):
        prepare_node_dir(root / "node")
