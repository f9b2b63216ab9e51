"""The systemd units are such that systemd takes them."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_verb_that_exists_and_gives_it_time_to_drain(unit: Path) -> None:
    from logferry.cli import VERBS

    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(unit)
    words = parsed["Service"]["ExecStart"].split()
    assert words[:2] == ["/usr/bin/env", "logferry"]
    assert words[2] in VERBS
    assert int(parsed["Service"]["TimeoutStopSec"]) >= 25


def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    assert len(UNITS) == 2
    tool = shutil.which("systemd-analyze")
    if tool is None:  # a container without systemd: the test above still reads the units
        return
    done = subprocess.run(
        [tool, "verify", "--user", *map(str, UNITS)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
