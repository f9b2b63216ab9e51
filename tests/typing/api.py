"""The public interface as typed programs use it: checked by mypy --strict, never run."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import logferry
from logferry import Delivery, Handler, Logger, Run


@dataclasses.dataclass
class Config:
    learning_rate: float = 0.001


def a_run_as_a_block() -> None:
    with logferry.init("exp042", model="ResNet34", dataset="CIFAR-10_v3.2", config={"learning_rate": 0.001}) as run:
        assert_type(run, Run)
        run.debug("BatchProcessed", epoch=5, batch=42)
        run.info("EpochEnd", epoch=1, train_loss=1.12)
        run.warning("DataWarning", "Detected 25 missing labels", count=25)
        run.error("CheckpointError", message="a field of this name", event=1, level=2, self=3)
        run.critical("OutOfMemory", path=Path("/x"))
        run.log({"loss": 0.94}, step=42, phase="train")
        run.result({"test_accuracy": 0.927})
        assert_type(run.experiment_id, str)
        assert_type(run.run_id, str)


def a_run_without_a_block(arguments: argparse.Namespace) -> None:
    run = logferry.init(
        "exp042", config=arguments, run_id="mine", group="sweep", tags=("a", "b"), notes="Baseline", level="INFO"
    )
    logferry.init("exp042", config=Config(), tags=["a"], level=logging.DEBUG)
    run.finish()
    run.finish("FAILED")
    run.finish(status=None)


def a_bound_logger(run: Run) -> Logger:
    log = run.bind(fold=3)
    assert_type(log, Logger)
    assert_type(log.bind(epoch=1), Logger)
    try:
        log.info("Fold")
    except ValueError:
        log.exception("Failed", "with a message", attempt=2)  # noqa: PLE1205 - no logger of the standard library
    return log


def how_far_it_came(run: Run) -> int:
    delivery = run.flush(until="durable", timeout=5.0)
    assert_type(delivery, Delivery)
    run.flush("written")
    return delivery.emitted + delivery.durable + delivery.written + delivery.spooled + delivery.shed


def the_active_run(metrics: Mapping[str, float]) -> None:
    assert_type(logferry.current(), Run)
    logferry.debug("A")
    logferry.info("B", "message", field=1)
    logferry.warning("C")
    logferry.error("D")
    logferry.critical("E")
    logferry.exception("F")
    logferry.log(dict(metrics), step=1)


def the_standard_library(run: Run) -> None:
    logging.getLogger().addHandler(Handler())
    logging.getLogger("app").addHandler(logferry.Handler(run, level="WARNING"))
    logging.getLogger("lib").addHandler(Handler(run.bind(part="lib"), logging.INFO))


def the_store() -> Any:
    return logferry.open_store().results(where="metrics.test_accuracy > 0.9", sort="metrics.test_accuracy", limit=10)


def what_does_not_fit(run: Run) -> None:
    logferry.init()  # type: ignore[call-arg]
    logferry.init("exp", "model")  # type: ignore[call-arg]
    logferry.init("exp", tags=5)  # type: ignore[arg-type]
    run.info()  # type: ignore[call-arg]
    run.info(event="by keyword only")  # type: ignore[call-arg]
    run.info("Event", 5)  # type: ignore[arg-type]
    run.flush(timeout="long")  # type: ignore[arg-type]
