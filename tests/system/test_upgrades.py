"""What earlier commits left behind when their processes were killed is read, recovered, adopted and finished today."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from support.killing import gaps, lines_of, service
from support.node import Node, wait_for

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("name", ["first", "before-proofs"])
def test_what_an_earlier_version_left_is_finished_whole(node: Node, name: str) -> None:
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as tar:
        tar.extractall(node.root, filter="data")  # new inodes, too: as after a move to another disk
    node.configure((node.root / "logferry.toml").read_text())
    agent = service(node, "agent")
    wait_for("all spools are adopted", lambda: not list((node.dir / "spool").glob("[!.]*")))
    results = node.home / "results" / "upgrade"
    wait_for(
        "all results are final", lambda: b"RUNNING" not in b"".join(p.read_bytes() for p in results.glob("*.json"))
    )
    assert node.stop(agent) == 0, node.said_by("agent")
    expected = json.loads((node.root / "expected.json").read_text())
    for run, what in expected.items():
        numbers = [line["number"] for line in lines_of(node, run, "upgrade") if line["event"] == "Tick"]
        assert numbers == list(range(1, what["ticks"] + 1)), (run, gaps(numbers))
        document = json.loads((results / f"{run}.json").read_bytes())
        assert {key: document[key] for key in ("status", "metrics")} == {
            key: what[key] for key in ("status", "metrics")
        }
    verdict = node.asked("verify")
    assert verdict["complete"], [run for run in verdict["runs"] if not run["complete"]]
    rows = node.asked("results")
    assert {row["run_id"]: row["status"] for row in rows} == {run: what["status"] for run, what in expected.items()}
    assert len(rows) == 3
