"""Who owns a run's result, what it says, and that it is always a file that others can read."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import logferry
from logferry import diagnostics, results
from logferry.document import Document, config_map, first_document, own_producers
from logferry.layout import Home, NodeDir
from support.node import Node, wait_for

LOCKS = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
WAITS = "import logferry, sys; run = logferry.init('exp', config={'lr': 0.1})\nrun.result({'before': 1})\n"
WAITS += "run._producer.shipper.submit(lambda: None).wait(5); print('there', flush=True); sys.stdin.read()"


def _document(root: Path, producer: str, rank: int | None = None) -> Document:
    first = first_document("exp", "r", host="h", started_ns=0, given={"config": {producer: 1}})
    return Document(Home(root / "home"), NodeDir(root / "node"), producer, rank, first)


def _saved(root: Path) -> dict[str, Any]:
    return results.read(root / "home" / "results" / "exp" / "r.json")


def test_a_worker_that_starts_when_its_run_is_over_does_not_make_a_failed_one_completed(node: Node) -> None:
    child = "import logferry; run = logferry.init('exp', run_id='r'); run.result({'late': 1}); run.finish()"
    parent = "import logferry, os, subprocess, sys\nrun = logferry.init('exp', run_id='r')\nenv = dict(os.environ)\n"
    parent += "run.finish('FAILED')\nsubprocess.run([sys.executable, '-c', sys.argv[1]], env=env, check=True)"
    assert node.run_job(parent, child).returncode == 0
    found = _saved(node.root)
    assert (found["status"], found["attempt"], found["metrics"]) == ("FAILED", 1, {})
    (part,) = (node.home / "results" / "exp").glob("r.part-*.json")
    assert results.read(part)["metrics"] == {"late": 1}


def test_a_worker_leaves_the_file_of_its_run_to_whoever_began_it_though_a_full_disk_delays_it(root: Path) -> None:
    first = first_document("exp", "r", host="h", started_ns=0, given={})
    worker = Document(Home(root / "home"), NodeDir(root / "node"), "worker", None, first, late=True)
    worker.merge({"part": 1}, 0)
    worker.save()
    began = _document(root, "began")
    began.claim()
    assert (worker.owner, began.owner, _saved(root)["owner"]) == (False, True, "began")
    (part,) = (root / "home" / "results" / "exp").glob("r.part-*.json")
    assert results.read(part)["metrics"] == {"part": 1}


def test_one_of_eight_processes_that_start_at_once_owns_the_run(node: Node) -> None:
    node.env["LOGFERRY_RUN_ID"] = "shared"
    code = "import logferry, os, sys\nsys.stdin.read()\nrun = logferry.init('exp')\n"
    code += "run.result({f'by{os.getpid()}': 1})\nrun.finish()\nprint(run._document.owner)"
    jobs = [node.job(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
    for job in jobs:
        assert job.stdin is not None
        job.stdin.close()
    owned = [job.stdout.read() for job in jobs if job.stdout is not None]
    assert [job.wait(30) for job in jobs] == [0] * 8
    attempts = results.read(node.home / "results" / "exp" / "shared.json")["attempt"]
    # One that starts when the owner is through takes over: that is an attempt of its own.
    assert owned.count(b"True\n") == attempts
    parts = list((node.home / "results" / "exp").glob("shared.part-*.json"))
    assert len(parts) == 8 - attempts
    assert not list((node.home / "results" / "exp").glob(".*"))


def test_a_later_process_takes_over_from_a_dead_owner_and_keeps_its_values(node: Node) -> None:
    node.env["LOGFERRY_RUN_ID"] = "r"
    dead = node.job(WAITS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert dead.stdout is not None
    dead.stdout.readline()
    living = node.run_job("import logferry\nwith logferry.init('exp') as run: run.result({'by': 'another'})")
    assert living.returncode == 0
    path = node.home / "results" / "exp" / "r.json"
    assert (results.read(path)["status"], results.read(path)["attempt"]) == ("RUNNING", 1)
    node.stop(dead, signal.SIGKILL)
    assert node.run_job("import logferry\nwith logferry.init('exp') as run: run.result({'after': 2})").returncode == 0
    found = results.read(path)
    assert (found["status"], found["attempt"]) == ("COMPLETED", 2)
    assert found["metrics"] == {"before": 1, "after": 2}
    assert found["config"] == {"lr": 0.1}
    assert len(list(path.parent.glob("r.part-*.json"))) == 1


def test_of_two_that_saw_the_same_dead_owner_only_one_takes_over(root: Path) -> None:
    _document(root, "dead").claim()
    quick, slow = _document(root, "quick"), _document(root, "slow")

    def others_first(found: dict[str, Any]) -> bool:
        quick.claim()
        return False

    slow._lives = others_first  # type: ignore[method-assign]
    slow.claim()
    assert (quick.owner, slow.owner) == (True, False)
    assert (_saved(root)["owner"], _saved(root)["attempt"]) == ("quick", 2)


def test_a_process_that_died_while_it_took_over_is_in_nobodys_way(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _document(root, "dead").claim()
    mark = root / "home" / "results" / "exp" / ".r.attempt-2"
    results.create(mark, {"owner": "taker", "host": "h", "status": "RUNNING"})
    with monkeypatch.context() as patch:
        patch.setattr("logferry.document.own_producers", own_producers | {"taker"})
        early = _document(root, "early")
        early.claim()
        assert early.owner is False
    late = _document(root, "late")
    late.claim()
    assert (late.owner, _saved(root)["attempt"]) == (True, 3)
    assert not list(mark.parent.glob(".r.attempt-*"))


def test_an_owner_whose_host_is_heard_lives_also_to_one_who_may_only_read_that(root: Path) -> None:
    home = root / "home"
    home.mkdir()
    (home / "agents").symlink_to("/proc/self/task")  # there are fresh files, and nobody can make one
    path = home / "results" / "exp" / "r.json"
    with ThreadPoolExecutor(1) as pool:
        # A new thread's file is as old as the first look at it: that of the process, somebody saw long ago.
        host = str(pool.submit(threading.get_native_id).result())
        results.create(path, {"owner": "other", "host": host, "status": "RUNNING"})
        late = _document(root, "late")
        late.claim()
        assert late.owner is False


def test_an_owner_in_this_process_lives(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _document(root, "first").claim()
    monkeypatch.setattr("logferry.document.own_producers", own_producers | {"first"})
    second = _document(root, "second")
    second.claim()
    assert second.owner is False


def test_rank_0_owns_and_the_others_write_parts_beside_it(root: Path) -> None:
    first, second = _document(root, "zero", rank=0), _document(root, "one", rank=1)
    for number, document in enumerate((second, first)):
        document.merge({"loss": number}, 5)
        document.save()
    assert _saved(root)["owner"] == "zero"
    part = json.loads((root / "home" / "results" / "exp" / "r.part-one.json").read_bytes())
    assert (part["producer"], part["rank"], part["metrics"]) == ("one", 1, {"loss": 0})


def test_a_rank_that_has_nothing_to_say_writes_no_part(root: Path) -> None:
    document = _document(root, "one", rank=1)
    document.finish("COMPLETED", None, 0.0, 5)
    document.save()
    assert not (root / "home" / "results").exists()


def test_metrics_are_merged_and_numbers_that_json_lacks_are_strings(root: Path) -> None:
    document = _document(root, "p")
    document.merge({"a": 1, "b": math.nan}, 5)
    document.merge({"a": 2, "c": [math.inf, -math.inf]}, 6)
    document.save()
    assert _saved(root)["metrics"] == {"a": 2, "b": "NaN", "c": ["Infinity", "-Infinity"]}


def test_a_directory_that_is_in_the_way_delays_the_result_only(root: Path) -> None:
    (root / "home").mkdir()
    (root / "home" / "results").write_text("a file in place of the directory")
    document = _document(root, "p")
    document.claim()
    document.finish("COMPLETED", None, 0.0, 5)
    document.save()
    assert document.owner is None
    (root / "home" / "results").unlink()
    document.save()
    assert (_saved(root)["status"], document.owner) == ("COMPLETED", True)


def test_a_result_file_that_is_none_is_left_alone(root: Path) -> None:
    path = root / "home" / "results" / "exp" / "r.json"
    path.parent.mkdir(parents=True)
    path.write_text("not JSON")
    document = _document(root, "p")
    document.save()
    assert document.owner is None
    assert path.read_text() == "not JSON"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __iter__ = __str__


@pytest.mark.parametrize("odd", [5, Broken(), "a\ud800b", b"\xff", {"a": 1}, [Broken()], 2**70, math.nan, None])
def test_whatever_a_user_passes_to_init_becomes_a_file_that_can_be_read(odd: Any, node_dir: Path, home: Path) -> None:
    with logferry.init("exp", model=odd, dataset=odd, config=odd, tags=odd, notes=odd, group=odd, run_id="r") as run:
        run.result({"value": odd})
        run.result(odd)
    found = results.read(home / "results" / "exp" / "r.json")
    assert found["status"] == "COMPLETED"
    assert isinstance(found["notes"], str)
    assert all(isinstance(tag, str) for tag in found["tags"])
    assert "value" in found["metrics"]


def test_an_argument_that_is_no_text_does_not_cost_the_result(node: Node) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import logferry; logferry.init('exp', run_id='r').finish()", b"caf\xe9"],
        env=node.env,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0
    found = results.read(node.home / "results" / "exp" / "r.json")
    assert found["status"] == "COMPLETED"
    assert found["environment"]["argv"][-1] == "caf\\udce9"


def test_configurations_of_any_kind_become_maps() -> None:
    class Space:
        def __init__(self) -> None:
            self.lr = 0.1

    assert config_map({"lr": 0.1}) == config_map(Space()) == {"lr": 0.1}
    assert config_map(None) == {}
    assert config_map(7) == {"value": 7}


@pytest.fixture
def served(node_dir: Path, root: Path) -> Iterator[Path]:
    """A home that an agent serves, as far as its lock and its note can tell."""
    node_dir.mkdir(mode=0o700)
    (node_dir / "home").write_text(str(root / "served"))
    agent = subprocess.Popen(
        [sys.executable, "-c", LOCKS, str(node_dir / "agent.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    assert agent.stdin is not None
    agent.stdout.readline()
    yield root / "served"
    agent.stdin.close()
    agent.stdout.close()
    agent.wait(20)


def test_while_an_agent_runs_its_home_is_in_force_and_who_asked_for_another_is_told(
    served: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diagnostics, "_said", {})
    logferry.init("exp", run_id="r").finish()
    assert results.read(served / "results" / "exp" / "r.json")["status"] == "COMPLETED"
    assert not home.exists()
    assert str(served) in capsys.readouterr().err


def test_the_note_of_an_agent_that_is_gone_says_nothing(node_dir: Path, root: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    (node_dir / "home").write_text(str(root / "served"))
    (node_dir / "agent.lock").write_text("1")
    logferry.init("exp", run_id="r").finish()
    wait_for("the result", (home / "results" / "exp" / "r.json").exists)
