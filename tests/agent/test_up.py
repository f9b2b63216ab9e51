"""`logferry up` as the parent of agent and collector."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from logferry.cli import FINE, UsageError
from logferry.settings import load
from logferry_agent import up
from logferry_agent.up import Services


def test_what_a_service_says_beside_a_live_view_is_printed_by_this_process(
    node_dir: Path, home: Path, root: Path
) -> None:
    (root / "bad.toml").write_text("[agent]\nnonsense = 1\n")
    services = Services(load(node_dir=node_dir, home=home, config=root / "bad.toml"), relays=True)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            with pytest.raises(UsageError, match="did not start"):
                services.start()
        finally:
            services.kill()
    assert "unknown key" in said.getvalue()


@pytest.fixture
def tried(node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return a function that has an agent begin and end, and says after how many seconds each next start came."""
    now, lives, starts, failures = [0.0], [0.0], list[float](), list[OSError]()
    services = Services(load(node_dir=node_dir, home=home))

    def popen(*_: Any, **__: Any) -> SimpleNamespace:
        starts.append(now[0])
        if failures:
            raise failures.pop()
        ends_s = now[0] + lives[0]
        return SimpleNamespace(poll=lambda: None if now[0] < ends_s else 1, stderr=None)

    def play(until_s: float, *failing: OSError, lives_s: float = 0) -> list[int]:
        failures.extend(failing)
        lives[0] = lives_s
        while now[0] < until_s:
            now[0] += 0.875  # a pause is hardly ever over when somebody looks
            services.look_after()
        return [int(later - earlier) for earlier, later in pairwise(starts)]

    monkeypatch.setattr(up.subprocess, "Popen", popen)
    monkeypatch.setattr(up.time, "monotonic", lambda: now[0])
    services._start("agent")
    return play


def test_a_service_that_ends_at_once_is_started_ever_more_rarely_until_it_ran_well(
    tried: Callable[..., list[int]],
) -> None:
    growing = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert tried(250) == growing
    assert tried(310, lives_s=1_000) == [*growing, 60]
    assert tried(1_318)[len(growing) + 1 :] == [1_000, 1, 2, 4]


def test_a_service_that_cannot_be_started_for_lack_of_processes_is_tried_again(
    tried: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    tried(1)
    assert tried(10, BlockingIOError(11, "no more processes")) == [0, 1, 2, 4]
    assert "no more processes" in capsys.readouterr().err


def test_where_no_agent_can_be_started_for_what_is_left_it_is_said_where_that_is(
    node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def popen(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "no more processes")

    services = Services(load(node_dir=node_dir, home=home))
    services._running["agent"] = cast(Any, SimpleNamespace(poll=lambda: FINE))  # ended by itself, and well
    monkeypatch.setattr(up.subprocess, "Popen", popen)
    end = cast(Any, SimpleNamespace(forced=False, deadline=lambda: time.monotonic() + 25))
    assert services._stop_agent(end) == f"see {node_dir}"
