"""Which run a process belongs to: one program is one run, everything else stays apart."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

import logferry
from logferry.identity import PARENT, Identity, new_run_id, parent_note, process_mark, resolve, short_id

NOW_NS = 1_753_880_400_123_000_000
SLURM = {"SLURM_CLUSTER_NAME": "c1", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}
TORCH = {"WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "launch-1"}


def _who(env: dict[str, str], seed: int = 0, **options: Any) -> Identity:
    given: dict[str, Any] = {"experiment_id": "exp", "run_id": None, "ordinal": 0, "pid": 1} | options
    return resolve(given.pop("experiment_id"), given.pop("run_id"), env, NOW_NS, random.Random(seed).randbytes, **given)


def _ranks(env: dict[str, str], name: str, **options: Any) -> list[Identity]:
    return [_who(env | {name: str(rank)}, seed=rank, **options) for rank in range(2)]


PROGRAMS = {
    "torchrun": (TORCH, "RANK"),
    "torchrun without an id": (TORCH | {"TORCHELASTIC_RUN_ID": "none"}, "RANK"),
    "srun with MASTER_ADDR": (SLURM | {"WORLD_SIZE": "2", "MASTER_ADDR": "node1"}, "SLURM_PROCID"),
    "by hand": ({"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "RANK"),
    "Open MPI": ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "prterun-1"}, "OMPI_COMM_WORLD_RANK"),
    "Open MPI without a name": ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_RANK"),
    "PMI under Slurm": (SLURM | {"PMI_SIZE": "2"}, "PMI_RANK"),
    "Hydra": ({"PMI_SIZE": "2"}, "PMI_RANK"),
}


@pytest.mark.parametrize("launcher", PROGRAMS)
def test_ranks_of_one_program_are_one_run(launcher: str) -> None:
    first, second = _ranks(*PROGRAMS[launcher])
    assert first.run_id == second.run_id
    assert (first.rank, second.rank) == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"SLURM_JOB_ID": "78"},
        {"SLURM_STEP_ID": "1"},
        {"SLURM_CLUSTER_NAME": "c2"},
        {"SLURM_RESTART_COUNT": "1"},
        {"TORCHELASTIC_RESTART_COUNT": "1"},
        {"TORCHELASTIC_RUN_ID": "launch-2"},
        {"MASTER_ADDR": "node2"},
        {"MASTER_PORT": "29501"},
    ],
)
def test_programs_that_differ_in_anything_are_runs_of_their_own(other: dict[str, str]) -> None:
    env = SLURM | TORCH | {"RANK": "0"}
    assert _who(env).run_id != _who(env | other).run_id
    assert _who(env).run_id == _who(env | {"RANK": "1"}, seed=5).run_id


def test_experiments_and_successive_runs_of_one_program_stay_apart() -> None:
    ids = {_who(TORCH, experiment_id=name, ordinal=nth).run_id for name in ("a", "b") for nth in (0, 1)}
    assert len(ids) == 4


@pytest.mark.parametrize(
    "env",
    [
        {},
        SLURM,
        TORCH | {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "4"},
        {"WORLD_SIZE": "four", "MASTER_ADDR": "node1"},
        {"OMPI_COMM_WORLD_SIZE": "1"},
        {"PMI_SIZE": ""},
    ],
)
def test_what_no_launcher_calls_one_program_are_runs_of_their_own(env: dict[str, str]) -> None:
    first, second = (_who(env, seed=seed) for seed in (1, 2))
    assert first.run_id != second.run_id
    assert first.rank is None


def test_tasks_of_srun_and_array_tasks_are_grouped() -> None:
    assert _who(SLURM | {"SLURM_NTASKS": "4"}).group == "slurm-77.0"
    assert _who(SLURM | {"SLURM_NTASKS": "1"}).group is None
    assert _who({"SLURM_JOB_ID": "79", "SLURM_ARRAY_JOB_ID": "70"}).group == "slurm-70"


def test_the_argument_stands_above_the_variable_and_both_above_the_launcher() -> None:
    env = TORCH | {"LOGFERRY_RUN_ID": "mine", "RANK": "1"}
    assert (_who(env, run_id="given").run_id, _who(env).run_id) == ("given", "mine")
    assert _who(env).rank == 1
    assert _who(env | {"LOGFERRY_RUN_ID": ""}).run_id not in {"given", "mine"}


def test_a_child_joins_its_parents_run_only_for_the_same_experiment_and_job() -> None:
    note = {PARENT: parent_note("exp", "parents", SLURM, pid=9)}
    assert _who(SLURM | note).run_id == "parents"
    assert _who(SLURM | note, experiment_id="other").run_id != "parents"
    assert _who(SLURM | {"SLURM_JOB_ID": "78"} | note).run_id != "parents"
    assert _who(SLURM | note, pid=9).run_id != "parents"


@pytest.mark.parametrize("note", ["", "rubbish", "[]", "[1,2,3,4]", '["exp",7,"",9]', "null", '{"exp":1}', "[" * 9999])
def test_a_parents_note_that_says_nothing_is_passed_over(note: str) -> None:
    assert _who({PARENT: note}).derived


def test_run_ids_sort_by_time_and_a_seed_fixes_them() -> None:
    ids = [new_run_id(NOW_NS + step * 1_000_000, os.urandom) for step in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert new_run_id(NOW_NS, random.Random(1).randbytes) == new_run_id(NOW_NS, random.Random(1).randbytes)
    assert ids[0].startswith("20250730T130000123-")


def test_short_ids_are_of_the_promised_letters_and_differ() -> None:
    found = {short_id(os.urandom) for _ in range(1000)}
    assert len(found) == 1000
    assert set("".join(found)) <= set("abcdefghijkmnpqrstuvwxyz23456789")


def test_a_process_is_told_from_one_that_had_its_number_before() -> None:
    assert process_mark(os.getpid()) != process_mark(os.getppid())
    assert process_mark(2**22 + 1).endswith(":0")


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", ".hidden", "a\nb", "a\x1b[31m", "\u202eevil", " x", "x" * 129])
def test_an_unsafe_id_is_a_value_error_that_quotes_it_safely(bad: str, node_dir: object, home: object) -> None:
    for call in (lambda: logferry.init(bad), lambda: logferry.init("exp", run_id=bad)):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value).isprintable()
        assert ascii(bad)[:100] in str(caught.value)
        assert "allowed is" in str(caught.value)
    assert logferry.current().run_id == ""


def test_an_unsafe_id_in_the_environment_is_refused_too(
    monkeypatch: pytest.MonkeyPatch, node_dir: object, home: object
) -> None:
    monkeypatch.setenv("LOGFERRY_RUN_ID", "../../etc")
    with pytest.raises(ValueError, match=r"run id '\.\./\.\./etc' begins"):
        logferry.init("exp")
