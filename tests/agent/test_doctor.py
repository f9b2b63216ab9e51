"""Verb `doctor`: what it finds, and that it says the way out."""

from __future__ import annotations

import json
from pathlib import Path

from support.agents import AgentProcess, logferry


def test_with_an_agent_nothing_is_wrong(node_dir: Path, home: Path) -> None:
    with AgentProcess(node_dir, home):
        said = logferry("doctor", "--json", node_dir=node_dir, home=home)
    assert [one for one in json.loads(said.stdout)["findings"] if one["state"] == "wrong"] == []
    assert said.returncode == 0


def test_without_an_agent_it_says_how_to_start_one(node_dir: Path, home: Path) -> None:
    said = logferry("doctor", node_dir=node_dir, home=home)
    assert (said.returncode, "logferry agent" in said.stdout) == (1, True)


def test_a_node_directory_that_is_a_link_is_wrong_and_the_way_out_is_said(root: Path, home: Path) -> None:
    (root / "real").mkdir()
    (root / "node").symlink_to(root / "real")
    said = logferry("doctor", node_dir=root / "node", home=home)
    assert (said.returncode, "LOGFERRY_NODE_DIR" in said.stdout) == (1, True)


def test_a_home_that_another_agent_serves_is_wrong(root: Path, node_dir: Path, home: Path) -> None:
    with AgentProcess(node_dir, home):
        said = logferry("doctor", node_dir=node_dir, home=root / "other")
    assert (said.returncode, "LOGFERRY_HOME" in said.stdout) == (1, True)
