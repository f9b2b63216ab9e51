"""Disks that are full: each test of full_disks.py, in a mount namespace of its own where small disks can be mounted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from soak.disk import in_namespace
from system import full_disks

CASES = [name for name in vars(full_disks) if name.startswith("test_")]


@pytest.mark.parametrize("case", CASES)
def test_full_disks(case: str) -> None:
    command, problem = in_namespace()
    assert command, f"this needs a mount namespace of its own, as root or where users may have one: {problem}"
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, *pytest_, f"{Path(full_disks.__file__)}::{case}"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
