"""logferry: low-overhead, durable logging from many parallel jobs.

    with logferry.init("exp042", config={"learning_rate": 0.001}) as run:
        run.info("EpochEnd", epoch=1, train_loss=1.12)
        run.result({"test_accuracy": 0.927})

Reading order, the way of an event: `session` (init, current), `run`, `logger` (the log methods), `buffer` and
`segment` (the spool as the job writes it), `shipper`, `wire`; `spool` is what the agent reads when the job is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logferry.logger import Logger
from logferry.run import Delivery, Run
from logferry.session import current, init

if TYPE_CHECKING:
    from logferry.handler import Handler

__all__ = [
    "Delivery",
    "Handler",
    "Logger",
    "Run",
    "critical",
    "current",
    "debug",
    "error",
    "exception",
    "info",
    "init",
    "log",
    "open_store",
    "warning",
]


def debug(event: str, message: str | None = None, /, **fields: Any) -> None:
    """Log to the active run, if there is one."""
    current().debug(event, message, **fields)


def info(event: str, message: str | None = None, /, **fields: Any) -> None:
    """Log to the active run, if there is one."""
    current().info(event, message, **fields)


def warning(event: str, message: str | None = None, /, **fields: Any) -> None:
    """Log to the active run, if there is one."""
    current().warning(event, message, **fields)


def error(event: str, message: str | None = None, /, **fields: Any) -> None:
    """Log to the active run, if there is one."""
    current().error(event, message, **fields)


def critical(event: str, message: str | None = None, /, **fields: Any) -> None:
    """Log to the active run, if there is one."""
    current().critical(event, message, **fields)


def exception(event: str, message: str | None = None, /, **fields: Any) -> None:
    """Log the exception that is being handled to the active run, if there is one."""
    current().exception(event, message, **fields)


def log(metrics: dict[str, Any], /, step: int | None = None, **fields: Any) -> None:
    """Log a step's metrics to the active run, if there is one."""
    current().log(metrics, step, **fields)


def open_store(url: str | None = None) -> Any:
    """Open the results store for reading; see docs/results.md.

    Raises:
        ImportError: the collector extra is not installed; the message says how to install it.

    """
    from importlib import import_module  # noqa: PLC0415 - a job that logs needs no store

    try:
        return import_module("logferry_collector.query").open_store(url)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("logferry"):
            raise
        raise ImportError(
            f"the results store needs the package {missing.name}; install it with: pip install 'logferry[collector]'"
        ) from missing


def __getattr__(name: str) -> Any:
    # `logging` is not imported by a job that does not use it.
    if name == "Handler":
        from logferry.handler import Handler  # noqa: PLC0415

        return Handler
    raise AttributeError(f"module 'logferry' has no attribute {name!r}")
