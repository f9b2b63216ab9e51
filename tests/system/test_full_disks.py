"""Full disks: the tests of full_disks.py, in a mount namespace of their own where small disks can be mounted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from soak.disk import in_namespace

_FILE = Path(__file__).with_name("full_disks.py")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("test", re.findall(r"^def (test_\w+)", _FILE.read_text(), re.MULTILINE))
def test_full_disks_hold_up_nothing_but_what_lies_on_them(test: str) -> None:
    command, problem = in_namespace()
    assert command, f"this needs a mount namespace of its own, as root or where users may have one: {problem}"
    command += [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"{_FILE}::{test}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
