"""Which run a process belongs to, and who it is in it.

What merges by mistake loses results; what stays apart can be grouped later. So processes are one run only where
somebody says so: the argument, `LOGFERRY_RUN_ID`, the parent (`LOGFERRY_PARENT`), or an environment that says that they
are one program (torchrun, Open MPI, PMI, `srun` scripts that set `MASTER_ADDR`). Everything else is a run of its own.

Sources of the variables: PyTorch "torchrun (Elastic Launch)", Open MPI "mpirun(1)" and PMIx, MPICH's Hydra (PMI-1),
Slurm "srun(1), output environment variables".
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

PARENT = "LOGFERRY_PARENT"
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
# As `os.urandom`, or `random.Random(seed).randbytes` in a test.
RandomBytes: TypeAlias = Callable[[int], bytes]


class Identity(NamedTuple):
    """Who a process is: its run, its rank where ranks are known, and the group of its run.

    `derived`: nobody named the run; it counts for the ordinal of the next one. `inherited`: it is the run in which this
    process was started.
    """

    run_id: str
    rank: int | None
    group: str | None
    derived: bool
    inherited: bool = False


def short_id(random_bytes: RandomBytes, length: int = 10) -> str:
    """Return a random id of letters and digits that are hard to confuse; 5 bits a character."""
    return "".join(_ALPHABET[byte % 32] for byte in random_bytes(length))


def new_run_id(now_ns: int, random_bytes: RandomBytes) -> str:
    """Return a run id that sorts by start time (milliseconds, UTC) and is unique across machines."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{rest // 1_000_000:03d}-{short_id(random_bytes, 8)}"


def resolve(
    experiment_id: str,
    run_id: str | None,
    env: Mapping[str, str],
    now_ns: int,
    random_bytes: RandomBytes,
    *,
    ordinal: int,
    pid: int,
) -> Identity:
    """Decide which run a process belongs to.

    Args:
        experiment_id: the experiment given to `init`.
        run_id: the run id given to `init`, or None.
        env: the process's environment; an empty variable counts as unset.
        now_ns: the start time for a new id.
        random_bytes: source of a new id.
        ordinal: how many runs without an id of their own this process had before.
        pid: this process; its own export of `LOGFERRY_PARENT` is none of its parent's.

    """
    env = {key: value for key, value in env.items() if value}
    rank, group = _rank(env), _group(env)
    parents = _parents_run(experiment_id, env, pid)
    known = run_id or env.get("LOGFERRY_RUN_ID") or parents
    if known:
        return Identity(known, rank, group, derived=False, inherited=known == parents)
    program = _program(env)
    if program is None:
        return Identity(new_run_id(now_ns, random_bytes), None, group, derived=True)
    import hashlib  # noqa: PLC0415 - most runs have no ranks

    digest = hashlib.sha256("\0".join([experiment_id, *program, str(ordinal)]).encode()).digest()
    mark = short_id(lambda length: digest[:length])
    return Identity(f"{_job_stamp(env)}-{mark}", rank, group, derived=True)


def parent_note(experiment_id: str, run_id: str, env: Mapping[str, str], pid: int) -> str:
    """Return the value of `LOGFERRY_PARENT` that tells child processes their run."""
    return json.dumps([experiment_id, run_id, scheduler_job(env), pid])


def scheduler_job(env: Mapping[str, str]) -> str:
    """Return the id of the scheduler's job with cluster and array task, or "" outside of one."""
    for names in (("SLURM_JOB_ID", "SLURM_CLUSTER_NAME"), ("PBS_JOBID",), ("LSB_JOBID", "LSB_JOBINDEX"), ("JOB_ID",)):
        if env.get(names[0]):
            return ".".join(env.get(name, "") for name in names)
    return ""


def _parents_run(experiment_id: str, env: Mapping[str, str], pid: int) -> str | None:
    try:
        experiment, run_id, job, parent = json.loads(env.get(PARENT, ""))
    except (ValueError, TypeError, RecursionError):
        return None
    same = experiment == experiment_id and job == scheduler_job(env) and parent != pid
    return run_id if same and isinstance(run_id, str) else None


def _rank(env: Mapping[str, str]) -> int | None:
    if _program(env) is None:
        return None
    for name in ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"):
        if env.get(name, "").isdecimal():
            return int(env[name])
    return None


def _group(env: Mapping[str, str]) -> str | None:
    """Return the job step as the group of tasks that are runs of their own."""
    if "SLURM_STEP_ID" in env and _size(env, "SLURM_NTASKS") > 1:
        return f"slurm-{env.get('SLURM_JOB_ID', '')}.{env['SLURM_STEP_ID']}"
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"slurm-{env['SLURM_ARRAY_JOB_ID']}"
    return None


def _size(env: Mapping[str, str], name: str) -> int:
    value = env.get(name, "")
    return int(value) if value.isdecimal() else 0


def _program(env: Mapping[str, str]) -> list[str] | None:
    """Return what all processes of one parallel program have in common and no other program has, or None."""
    step = [env.get(name, "") for name in ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID")]
    restart = [env.get(name, "") for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")]
    if _size(env, "WORLD_SIZE") > 1 and env.get("MASTER_ADDR"):
        launch = env.get("TORCHELASTIC_RUN_ID", "")
        # torchrun without --rdzv-id calls every launch "none"; a launch by hand has no name either, nor a job.
        if launch == "none" or not (launch or scheduler_job(env)):
            launch = process_mark(os.getppid())
        address = [env["MASTER_ADDR"], env.get("MASTER_PORT", "")]
        return ["torch", launch, *step, scheduler_job(env), *restart, *address]
    if _size(env, "OMPI_COMM_WORLD_SIZE") > 1:
        launch = env.get("PMIX_NAMESPACE") or env.get("OMPI_MCA_ess_base_jobid") or process_mark(os.getppid())
        return ["ompi", launch, *step, scheduler_job(env), *restart]
    if _size(env, "PMI_SIZE") > 1:
        # Hydra gives a launch no name; under srun the step is one.
        launch = env.get("PMI_JOBID") or (env.get("SLURM_STEP_ID") and "step") or process_mark(os.getppid())
        return ["pmi", launch, *step, scheduler_job(env), *restart]
    return None


def _job_stamp(env: Mapping[str, str]) -> str:
    """Return a beginning that all ranks agree on; it sorts by time where the scheduler says when the job started."""
    started = env.get("SLURM_JOB_START_TIME", "")
    if started.isdecimal():
        return time.strftime("%Y%m%dT%H%M%S000", time.gmtime(int(started)))
    return "job" + "".join(char for char in scheduler_job(env) if char.isalnum())[:24]


def process_mark(pid: int) -> str:
    """Return what tells a process from every other: host's boot, pid, start time in clock ticks."""
    return f"{boot_id()}:{pid}:{process_start_ticks(pid)}"


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.uname().nodename


def process_start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), field 22 of stat); 0 where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat[stat.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
