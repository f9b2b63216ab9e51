"""Fixtures that every test may use: short roots of its own, and nothing of the user's environment."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import postgres
from support.depth import profiles
from support.node import Node

profiles()

# What takes longest begins first, so that nothing long is left alone at the end; the rest stays in its order.
_FIRST = ("soak", "models", "fuzz", "system")


def pytest_configure(config: pytest.Config) -> None:
    # What `nohup`, or a script in the background, started ignores them, and so would each job of a test.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        postgres.share()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgres.end_shared()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.parent.name
        return _FIRST.index(name) if name in _FIRST else len(_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("LOGFERRY_"):
            monkeypatch.delenv(name)


@pytest.fixture
def root() -> Iterator[Path]:
    """A new directory with a path short enough for a Unix socket below it."""
    path = Path(tempfile.mkdtemp(prefix="lf-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def node_dir(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGFERRY_NODE_DIR", str(root / "node"))
    return root / "node"


@pytest.fixture
def home(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGFERRY_HOME", str(root / "home"))
    return root / "home"


@pytest.fixture
def node(root: Path) -> Iterator[Node]:
    """A node of its own: agent, collector and jobs end with the test."""
    found = Node(root)
    yield found
    found.close()
