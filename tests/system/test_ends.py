"""How a run ended stands in the seal, in the result and in the list of runs, and all three say the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import cgroups
from support.node import Node, wait_for

OPEN = "import atexit, os, signal, sys, logferry\nrun = logferry.init('exp', run_id=sys.argv[1])\nrun.info('Began')\n"
MET = OPEN + "run.flush()\n"  # the agent has heard of it: of a process that it never met it has no descriptor
# What the kernel says of a process that nobody waits for any more (Linux 6.15); before, that it vanished.
KEPT = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)

CODE_3 = ("FAILED", {"code": 3}) if KEPT else ("COMPLETED", None)
ENDS: dict[str, tuple[str, str, Any]] = {
    "fine": ("", "COMPLETED", None),
    "raised": ("raise SystemExit(3)", *CODE_3),
    "raised-0": ("raise SystemExit(0)", "COMPLETED", None),
    "exit": ("exit(3)", "FAILED", {"code": 3, "exception": "SystemExit: 3"}),
    "finished": ("run.finish()\nraise SystemExit(3)", "COMPLETED", None),
    "_exit": ("os._exit(5)", "KILLED", {"reason": "vanished", "code": 5}),
    "_exit-0": ("os._exit(0)", "KILLED", {"reason": "vanished", "code": 0}),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", "KILLED", {"reason": "vanished", "signal": "SIGKILL"}),
    "segv": ("os.kill(os.getpid(), signal.SIGSEGV)", "KILLED", {"reason": "vanished", "signal": "SIGSEGV"}),
    "term": ("os.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()", "KILLED", {"signal": "SIGTERM"}),
    "cleanup": ("sys.stdout.flush = None", "COMPLETED", {"code": 120} if KEPT else None),
    "exec": ("os.execv('/bin/sleep', ['sleep', '600'])", "KILLED", {"reason": "exec"}),
    "error": ("1 / 0", "FAILED", "ZeroDivisionError: division by zero"),
}
# Registered before ours, so it comes after it: the run is over, and then its process crashes.
LATE_CRASH = "import atexit, os\natexit.register(os.abort)\n"


def settled(node: Node, *runs: str) -> dict[str, dict[str, Any]]:
    """Return the seals by run, once each run has one and its result says how it ended."""

    def seals() -> dict[str, dict[str, Any]] | None:
        paths = {run: node.home / "logs" / "exp" / run for run in runs}
        found = {run: node.seals(f"exp/{run}/*.jsonl") for run, path in paths.items() if path.is_dir()}
        return {run: one[0] for run, one in found.items() if one} if all(map(found.get, runs)) else None

    found: dict[str, dict[str, Any]] = wait_for("every run has a seal", seals)
    for run in runs:
        wait_for(
            f"the result of {run} says what its seal says",
            lambda run=run: _same(node.result("exp", run), found[run]),
        )
    return found


def _same(document: dict[str, Any], seal: dict[str, Any]) -> bool:
    return (document["status"], document["exit"]) == (seal["status"], seal.get("exit"))


def test_every_end_of_a_process_is_in_the_seal_the_result_and_the_list_of_runs(node: Node) -> None:
    node.agent()
    jobs = {name: node.job(MET + code, name, stderr=subprocess.DEVNULL) for name, (code, *_) in ENDS.items()}
    jobs["late"] = node.job(LATE_CRASH + MET, "late", stderr=subprocess.DEVNULL)
    for name, job in jobs.items():
        if name != "exec":
            job.wait(60)
    seals = settled(node, *jobs)
    for name, (_, status, how) in ENDS.items():
        said = seals[name].get("exit")
        if isinstance(how, str):
            assert said["exception"] == how
        elif how and "reason" in how and not KEPT:  # its parent may have been faster than the agent
            assert (name, said["reason"]) == (name, how["reason"])
        else:
            assert (name, said) == (name, how)
        assert (name, seals[name]["status"]) == (name, status)
    assert seals["late"]["status"] == "COMPLETED"
    listed = {run["run_id"]: run for run in node.asked("runs")}
    assert {name: (run["status"], run["exit"]) for name, run in listed.items()} == {
        name: (seal["status"], seal.get("exit")) for name, seal in seals.items()
    }
    table = {line.split()[0]: line for line in node.call("runs").stdout.splitlines()}
    assert "SIGKILL" in table["kill"] or not KEPT
    assert "ZeroDivisionError: division by zero" in table["error"]
    assert "SystemExit: 3" in table["exit"]
    assert "exec" in table["exec"]


def test_a_run_that_the_oom_killer_ended_says_so(node: Node) -> None:
    node.agent()
    with cgroups.small(f"logferry-test-{os.getpid()}", 96 << 20) as directory:
        hoard = "hoard = bytearray(200 << 20)"
        if directory is None:  # no right to make one: as it would look without the count
            job = node.job(OPEN + "os.kill(os.getpid(), signal.SIGKILL)", "oom")
        else:
            job = subprocess.Popen([*cgroups.inside(directory, OPEN + hoard), "oom"], env=node.env)
            node.processes.append(job)
        assert job.wait(60) == -signal.SIGKILL
        seal = settled(node, "oom")["oom"]
        assert seal["status"] == "KILLED"
        assert seal["exit"]["reason"] == ("oom" if directory else "vanished")
        assert "signal" not in seal["exit"] or seal["exit"]["signal"] == "SIGKILL"
        if directory is not None:
            command = [sys.executable, "-c", hoard]
            done = subprocess.run(
                [
                    *cgroups.inside(
                        directory, f"import logferry.cli, sys; sys.exit(logferry.cli.main({EXEC + command}))"
                    )
                ],
                env=node.env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 128 + signal.SIGKILL, done.stderr
            assert node.result("exp", "command")["exit"] == {"signal": "SIGKILL", "reason": "oom"}


EXEC = ["exec", "--experiment", "exp", "--run", "command", "--"]


def test_a_run_whose_node_went_down_says_so(node: Node, root: Path) -> None:
    node.run_job(OPEN + "os.kill(os.getpid(), signal.SIGKILL)", "down")
    (spool,) = (node.dir / "spool").iterdir()
    _of_another_boot(spool)
    node.agent()
    assert settled(node, "down")["down"]["exit"] == {"reason": "node"}
    assert "node" in node.call("runs").stdout.splitlines()[-1].split()


def _of_another_boot(spool: Path) -> None:
    import zlib

    import msgpack

    from logferry.spool import _HELLO, HELLO_MAGIC, VERSION, read_about

    about = read_about(spool)
    assert isinstance(about, dict)
    packed = msgpack.packb(about | {"boot_id": "2f6e0ff4-0000-4000-8000-000000000000"})
    (spool / "hello").write_bytes(_HELLO.pack(HELLO_MAGIC, VERSION, zlib.crc32(packed)) + packed)
