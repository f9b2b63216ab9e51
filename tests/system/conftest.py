"""An agent in a process of its own, and a run in this one that has reached it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import logferry
from logferry.run import Run
from support.agents import AgentProcess


@pytest.fixture
def agent(node_dir: Path, home: Path) -> Iterator[AgentProcess]:
    with AgentProcess(node_dir, home) as found:
        yield found


@pytest.fixture
def run(agent: AgentProcess) -> Iterator[Run]:
    with logferry.init("exp", run_id="r") as found:
        found.flush("written", timeout=20)
        yield found
