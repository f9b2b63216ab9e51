"""How a process ended, told by somebody who is not its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from logferry import cgroup
from logferry.identity import boot_id, process_start_ticks
from logferry_agent.exits import Exits

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 31\noom 2\noom_kill {}\noom_group_kill 0\n"


def job(code: str) -> subprocess.Popen[str]:
    """Start a process that goes on to its end once its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import os, signal, sys; sys.stdin.read(); {code}"], stdin=subprocess.PIPE, text=True
    )


def about(pid: int, **more: Any) -> dict[str, Any]:
    return {"pid": pid, "pid_start": process_start_ticks(pid), "boot_id": boot_id(), **more}


def end(process: subprocess.Popen[str]) -> None:
    """Let it end, and leave its status with the kernel."""
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def exits(root: Path) -> Iterator[Exits]:
    with closing(Exits(cgroups=root)) as found:
        yield found


def kernel_keeps_statuses() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 15)


ENDS = [
    ("os._exit(5)", {"code": 5}),
    ("sys.exit(0)", {"code": 0}),
    ("os.kill(os.getpid(), signal.SIGKILL)", {"signal": "SIGKILL"}),
    ("os.abort()", {"signal": "SIGABRT"}),
    ("os.kill(os.getpid(), signal.SIGRTMIN + 3)", {"signal": f"signal {signal.SIGRTMIN + 3}"}),
]


@pytest.mark.parametrize(("code", "how"), ENDS)
def test_the_status_of_a_process_is_known_before_and_after_its_parent_asked_for_it(
    exits: Exits, code: str, how: dict[str, Any]
) -> None:
    with job(code) as process:
        known = about(process.pid)
        exits.watch("a", known)
        end(process)
        assert exits.how(known) == how
        process.wait()
    assert exits.how(known) == (how if kernel_keeps_statuses() else {})


def of_processes() -> int:
    """Return how many descriptors of processes are open here; of others some may be closed at any time."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += "pidfd" in os.readlink(path)
    return found


def test_producers_of_one_process_share_a_descriptor_until_the_last_is_forgotten(exits: Exits) -> None:
    with job("") as process:
        known = about(process.pid)
        before = of_processes()
        for name in ("a", "b", "a"):
            exits.watch(name, known)
        assert of_processes() == before + 1
        exits.forget("a", known)
        exits.forget("a", known)
        assert of_processes() == before + 1
        exits.forget("b", known)
        assert of_processes() == before
        end(process)


def test_who_certainly_lives_is_known_of_all_at_once_until_one_dies(exits: Exits) -> None:
    with job("pass") as first, job("pass") as second:
        exits.watch("first", about(first.pid))
        exits.watch("another run of it", about(first.pid))
        exits.watch("second", about(second.pid))
        exits.watch("a number without its start", {"pid": os.getpid()})
        assert exits.living() == {"first", "another run of it", "second"}
        end(first)
        assert exits.living() == {"second"}
        exits.watch("heard of too late", about(first.pid))
        assert exits.living() == {"second"}
        exits.forget("second", about(second.pid))
        assert exits.living() == set()


def test_that_all_live_is_asked_anew_once_one_came_or_left(exits: Exits) -> None:
    with job("pass") as first, job("pass") as second:
        exits.watch("first", about(first.pid))
        assert exits.all_live({"first"}, 1)
        assert not exits.all_live({"first", "second"}, 2)
        exits.watch("second", about(second.pid))
        assert exits.all_live({"first", "second"}, 2)
        end(first)
        assert not exits.all_live({"first", "second"}, 2)
        assert exits.all_live({"second"}, 2)
        exits.forget("second", about(second.pid))
        assert not exits.all_live({"second"}, 2)


def test_a_process_that_took_the_number_of_another_is_not_taken_for_it(exits: Exits) -> None:
    with job("") as process:
        other = about(process.pid) | {"pid_start": 1}
        exits.watch("a", other)
        assert not exits.runs_on(other)
        assert exits.how(other) == {}
        end(process)


def test_one_that_runs_on_without_its_spool_became_another_program(exits: Exits) -> None:
    with job("") as process:
        assert exits.how(about(process.pid)) == {"reason": "exec"}
        assert exits.how(about(process.pid) | {"pid_start": 0}) == {}
        end(process)


def test_of_another_boot_is_known_that_its_node_went_down(exits: Exits) -> None:
    assert exits.how(about(os.getpid()) | {"boot_id": "0f4c"}) == {"reason": "node"}


def counting(root: Path, name: str, text: str, kills: int, path: str = "jobs/7") -> Path:
    (root / path).mkdir(parents=True, exist_ok=True)
    (root / path / name).write_text(text.format(kills))
    return root / path


@pytest.mark.parametrize(
    ("name", "text"), [("memory.oom_control", V1), ("memory.events", V2), ("memory.events.local", V2)]
)
def test_a_count_that_rose_says_that_it_was_the_oom_killer(exits: Exits, root: Path, name: str, text: str) -> None:
    found = cgroup.at(counting(root, name, text, 4), root)
    assert found is not None
    gone = about(1 << 22, cgroup=found.path, cgroup_inode=found.inode, oom_kills=found.oom_kills)
    assert exits.how(gone) == {}
    counting(root, name, text, 5)
    assert exits.how(gone) == {"reason": "oom"}


def test_one_kill_is_the_end_of_one_producer_only(exits: Exits, root: Path) -> None:
    found = cgroup.at(counting(root, "memory.events", V2, 0), root)
    assert found is not None
    gone = about(1 << 22, cgroup=found.path, cgroup_inode=found.inode, oom_kills=0)
    counting(root, "memory.events", V2, 2)
    assert [exits.how(gone).get("reason") for _ in range(3)] == ["oom", "oom", None]


def test_who_ended_by_itself_was_not_killed_whatever_the_count_says(exits: Exits, root: Path) -> None:
    found = cgroup.at(counting(root, "memory.events", V2, 0), root)
    assert found is not None
    with job("os._exit(3)") as process:
        known = about(process.pid, cgroup=found.path, cgroup_inode=found.inode, oom_kills=0)
        exits.watch("a", known)
        counting(root, "memory.events", V2, 1)
        end(process)
        assert exits.how(known) == {"code": 3}


@pytest.mark.parametrize("change", [{"cgroup_inode": 1}, {"cgroup": "/etc"}, {"cgroup": ""}])
def test_the_count_of_another_cgroup_says_nothing(exits: Exits, root: Path, change: dict[str, Any]) -> None:
    found = cgroup.at(counting(root, "memory.events", V2, 9), root)
    assert found is not None
    gone = about(1 << 22, cgroup=found.path, cgroup_inode=found.inode, oom_kills=0) | change
    assert exits.how(gone) == {}


@pytest.mark.parametrize(
    ("membership", "path", "name", "text"),
    [
        ("4:memory:/jobs/7\n0::/\n", "memory/jobs/7", "memory.oom_control", V1),
        ("3:cpu,memory:/jobs/7\n", "memory/jobs/7", "memory.oom_control", V1),
        ("4:memory:/seen/from/outside\n", "memory", "memory.oom_control", V1),
        ("0::/jobs/7\n", "jobs/7", "memory.events", V2),
        ("0::/jobs/7/without/memory\n", "jobs/7", "memory.events", V2),
        ("0::/odd:name\n", "odd:name", "memory.events", V2),
    ],
)
def test_a_process_finds_the_cgroup_that_its_memory_counts_in(
    root: Path, membership: str, path: str, name: str, text: str
) -> None:
    (root / "self").write_text(membership)
    directory = counting(root, name, text, 3, path)
    found = cgroup.own(root / "self", root)
    assert found == cgroup.Cgroup(str(directory), directory.stat().st_ino, 3)


@pytest.mark.parametrize("membership", ["", "0::/\n", "rubbish\n", "4:memory:/../../etc\n"])
def test_without_a_count_there_is_no_cgroup_to_speak_of(root: Path, membership: str) -> None:
    (root / "self").write_text(membership)
    assert cgroup.own(root / "self", root) is None
    assert cgroup.own(root / "absent", root) is None
