"""What a result says of the environment that its run had: read from files and variables, no process is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_VARIABLES = (
    "SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_STEP_ID SLURM_JOB_NAME SLURM_JOB_PARTITION "
    "SLURM_JOB_NODELIST SLURM_NTASKS SLURM_PROCID SLURM_RESTART_COUNT PBS_JOBID LSB_JOBID "
    "WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT "
    "OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK PMI_SIZE PMI_RANK CUDA_VISIBLE_DEVICES CONDA_DEFAULT_ENV VIRTUAL_ENV"
).split()
_MAX_ARGUMENT = 1000


def collect(environment: Mapping[str, str], start: Path) -> dict[str, Any]:
    """Return git commit, command line, Python, host and scheduler variables as plain data.

    Args:
        environment: the process's variables.
        start: the directory whose git repository counts, with all its parents.

    """
    system = os.uname()
    return {
        "argv": [argument[:_MAX_ARGUMENT] for argument in sys.orig_argv[:100]],
        "cwd": str(start),
        "git": git_head(start),
        "python": sys.version.partition(" ")[0],
        "executable": sys.executable,
        "platform": f"{system.sysname} {system.release} {system.machine}",
        "pid": os.getpid(),
        "variables": {name: environment[name] for name in _VARIABLES if environment.get(name)},
    }


def git_head(start: Path) -> dict[str, str] | None:
    """Return commit and branch of the repository around `start`, read from its files; None outside of one."""
    for directory in (start, *start.parents):
        git = directory / ".git"
        try:
            if git.is_file():  # a worktree or submodule: "gitdir: <path>"
                git = (directory / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
            if (git / "HEAD").is_file():
                return _head(git)
        except (OSError, ValueError):
            return None
    return None


def _head(git: Path) -> dict[str, str]:
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return {"commit": head}
    name = head.removeprefix("ref:").strip()
    found = {"branch": name.removeprefix("refs/heads/")}
    common = git / "commondir"
    roots = [git] + ([(git / common.read_text(encoding="utf-8").strip()).resolve()] if common.is_file() else [])
    for root in roots:
        loose = root / name
        if loose.is_file():
            return {"commit": loose.read_text(encoding="utf-8").strip(), **found}
        packed = root / "packed-refs"
        for line in packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else ():
            commit, _, ref = line.partition(" ")
            if ref == name:
                return {"commit": commit, **found}
    return found
