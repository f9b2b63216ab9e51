"""What is shipped is the wheel: it installs and runs where the checkout is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
JOB = """
import logferry, pathlib
assert "site-packages" in logferry.__file__ and "outside" in logferry.__file__, logferry.__file__
with logferry.init("wheel") as run:
    run.info("Hello", n=1)
    print(run.flush(until="written", timeout=20).written > 0)
"""


def _run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_built_wheel_installs_and_runs_outside_the_checkout(root: Path) -> None:
    # From a copy: building leaves directories behind.
    for name in ("sdk", "agent", "collector"):
        shutil.copytree(CHECKOUT / name, root / "source" / name, ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, root / "source" / name)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", root, root / "source", cwd=root)
    (wheel,) = root.glob("*.whl")
    outside = root / "outside"
    _run(sys.executable, "-m", "venv", "--without-pip", outside, cwd=root)
    python = outside / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    _run(*pip, "install", "--quiet", "--no-deps", wheel, cwd=root)
    # The dependencies are those of this environment; the checkout's editable install is not seen through this file.
    (site,) = outside.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LOGFERRY_", "PYTHON"))}
    env |= {"LOGFERRY_NODE_DIR": str(root / "n"), "LOGFERRY_HOME": str(root / "h")}
    said = _run(outside / "bin" / "logferry", "up", "--", python, "-c", JOB, env=env, cwd=root)
    assert "True" in said
    assert "Hello: n=1" in _run(outside / "bin" / "logferry", "logs", "wheel", env=env, cwd=root)
    assert "complete" in _run(outside / "bin" / "logferry", "verify", env=env, cwd=root)
