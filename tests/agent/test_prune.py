"""`logferry prune`: applies the retention of the configuration, and leaves what is in use."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from logferry.cli import FINE, NO
from logferry.layout import host_name
from logferry_agent.prune import prune
from logferry_agent.rotation import in_order
from support.agents import AgentProcess, logferry
from support.writerrig import rig


async def _rotated(root: Path) -> list[str]:
    async with rig(root, host=host_name(), rotate_bytes=4096, compress="none") as one:
        one.hello("aaaaaaaa")
        for first in range(1, 301, 50):
            one.steps("aaaaaaaa", first, first + 49)
            await one.quiet()
        return [log.name for log in in_order(os.listdir(one.run_logs().path))]


@pytest.fixture
def names(root: Path, home: Path, node_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (root / "logferry.toml").write_text("[agent]\nkeep_files = 2\n")
    monkeypatch.setenv("LOGFERRY_CONFIG", str(root / "logferry.toml"))
    return asyncio.run(_rotated(root))


def left(home: Path) -> list[str]:
    return [log.name for log in in_order(os.listdir(home / "logs" / "exp" / "run1"))]


def test_the_newest_files_stay_and_the_others_are_named(
    names: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(["--json"]) == FINE
    removed = json.loads(capsys.readouterr().out)["removed"]
    assert [Path(path).name for path in removed] == names[:-2]
    assert left(home) == names[-2:]


def test_a_second_time_removes_nothing(names: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune([]) == FINE
    capsys.readouterr()
    assert prune([]) == FINE
    assert capsys.readouterr().out == "0 files removed\n"


def test_a_running_agent_does_it_and_goes_on(names: list[str], home: Path, node_dir: Path, root: Path) -> None:
    with AgentProcess(node_dir, home, config=root / "logferry.toml") as agent:
        (home / "logs" / "exp" / "run1" / f"{host_name()}.20200101T000000Z-0.jsonl").write_text("{}\n")
        done = logferry("prune", "--json", node_dir=node_dir, home=home)
        assert done.returncode == FINE, done.stderr
        assert len(left(home)) == 2
        assert agent.stop() == 0


def test_an_agent_that_starts_meanwhile_is_named(
    names: list[str], node_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("logferry_agent.prune.ask", lambda *_: None)
    with AgentProcess(node_dir, node_dir.parent / "home") as agent:
        assert prune([]) == NO
        assert f"pid {agent.pid}" in capsys.readouterr().err


def test_files_of_another_host_are_left_alone(names: list[str], home: Path) -> None:
    others = [home / "logs" / "exp" / "run1" / f"other.20250730T130000Z-{number}.jsonl" for number in range(5)]
    for path in others:
        path.write_text("{}\n")
    assert prune([]) == FINE
    assert all(path.exists() for path in others)
