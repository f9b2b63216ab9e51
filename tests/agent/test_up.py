"""`logferry up` as the parent of agent and collector."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from logferry.cli import UsageError
from logferry.settings import load
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
