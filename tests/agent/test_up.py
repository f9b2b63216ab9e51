"""`logferry up` as the parent of agent and collector."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import UsageError
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
def tried(node_dir: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Return a function that has an agent begin and end, and says when it was started, with time passing as it may."""
    now, starts, failures = [0.0], list[float](), list[OSError]()
    services = Services(load(node_dir=node_dir, home=home))

    def popen(*_: Any, **__: Any) -> subprocess.Popen[bytes]:
        starts.append(now[0])
        if failures:
            raise failures.pop()
        ended = real_popen(["true"])
        ended.wait()
        return ended

    def play(until_s: float, *failing: OSError, lives_s: float = 0) -> list[float]:
        now[0] += lives_s
        while now[0] < until_s:
            now[0] += 0.5
            services.look_after()
            if now[0] == 1:
                failures.extend(failing)
        return starts

    real_popen = subprocess.Popen
    monkeypatch.setattr(up.subprocess, "Popen", popen)
    monkeypatch.setattr(up.time, "monotonic", lambda: now[0])
    services._start("agent")
    return play


def test_a_service_that_ends_at_once_is_started_ever_more_rarely(
    tried: Callable[..., list[float]],
) -> None:
    assert tried(243.5) == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5, 123.5, 183.5, 243.5]
    assert tried(1248, lives_s=1000)[11:] == [1244, 1245, 1247]


def test_a_service_that_cannot_be_started_for_lack_of_processes_is_tried_again(
    tried: Callable[..., list[float]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried(8, BlockingIOError(11, "no more processes")) == [0, 0.5, 1.5, 3.5, 7.5]
    assert "no more processes" in capsys.readouterr().err
