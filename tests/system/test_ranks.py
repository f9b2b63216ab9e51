"""Processes that are one program are one run; processes that are not stay apart."""

from __future__ import annotations

from support.node import Node, wait_for

JOB = """
import os, logferry
with logferry.init("ddp", config={"lr": 0.1}) as run:
    rank = os.environ.get("RANK") or os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("SLURM_PROCID")
    run.info("Hello", rank=rank)
    run.result({f"metric{rank}": int(rank), "shared": int(rank)})
"""
TORCHRUN = {"WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "none"}


def _start(node: Node, variables: dict[str, str], ranks: int, name: str) -> None:
    jobs = []
    for rank in range(ranks):
        node.env = node.env | variables | {name: str(rank)}
        jobs.append(node.job(JOB))
    assert [job.wait(60) for job in jobs] == [0] * ranks


def test_ranks_of_torchrun_are_one_run_whose_parts_the_collector_merges(node: Node) -> None:
    node.agent()
    _start(node, TORCHRUN | {"MASTER_PORT": "29500"}, 4, "RANK")
    wait_for("all four are sealed", lambda: len(node.seals()) == 4)
    (row,) = node.asked("results")
    assert row["metrics"] == {"metric0": 0, "metric1": 1, "metric2": 2, "metric3": 3, "shared": 0}
    assert (row["status"], row["attempt"]) == ("COMPLETED", 1)


def test_two_launches_in_one_allocation_are_two_runs(node: Node) -> None:
    node.agent()
    allocation = {"SLURM_JOB_ID": "5", "SLURM_CLUSTER_NAME": "c"}
    for port in ("29500", "29501"):
        _start(node, allocation | TORCHRUN | {"MASTER_PORT": port}, 2, "RANK")
    wait_for("all four are sealed", lambda: len(node.seals()) == 4)
    assert len(node.asked("results")) == 2


def test_ranks_of_open_mpi_are_one_run(node: Node) -> None:
    node.agent()
    _start(node, {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "prterun-1"}, 2, "OMPI_COMM_WORLD_RANK")
    wait_for("both are sealed", lambda: len(node.seals()) == 2)
    assert len(node.asked("results")) == 1
