"""A short soak with every run of the tests; `make soak` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECONDS = 20


def test_nothing_is_lost_twice_or_out_of_order_while_everything_is_killed_at_random() -> None:
    command = [sys.executable, str(Path(__file__).with_name("soak.py")), "--seconds", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=os.environ, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
