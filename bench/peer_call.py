"""One logger's call beside the floor, in a process of its own: `peer_call.py NAME ROUNDS` prints one line of JSON."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import logging.handlers
import os
import queue
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import floor
from measure import interleaved, ns_per_call

Call = Callable[..., Any]
ROOT = Path(tempfile.mkdtemp(prefix="lf-peer-"))
SCALARS = {"loss": 0.94, "accuracy": 0.77, "batch": 42}


def logferry() -> Call:
    from calls import a_run

    context = a_run()
    run = context.__enter__()
    AFTER.append(lambda: context.__exit__(None, None, None))
    SHIP.append(lambda: run.flush(until="durable", timeout=30))
    return run.info


def _records(logger: Any) -> Call:
    def call(event: str, **fields: Any) -> None:
        logger.info("%s %s", event, fields)

    return call


def stdlib_file() -> Call:
    logger = logging.getLogger("peer")
    handler = logging.FileHandler(ROOT / "log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return _records(logger)


def stdlib_queue() -> Call:
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    logger = logging.getLogger("peer")
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    logger.setLevel(logging.INFO)
    listener = logging.handlers.QueueListener(waiting, logging.FileHandler(ROOT / "log"))
    listener.start()
    AFTER.append(listener.stop)
    SHIP.append(lambda: _until(waiting.empty))
    return _records(logger)


def structlog() -> Call:
    import orjson
    import structlog as peer

    peer.configure(
        cache_logger_on_first_use=True,
        wrapper_class=peer.make_filtering_bound_logger(logging.INFO),
        processors=[
            peer.contextvars.merge_contextvars,
            peer.processors.add_log_level,
            peer.processors.format_exc_info,
            peer.processors.TimeStamper(fmt="iso", utc=True),
            peer.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=peer.BytesLoggerFactory((ROOT / "log").open("wb")),
    )
    return peer.get_logger().info  # type: ignore[no-any-return]


def _loguru(**options: Any) -> Call:
    from loguru import logger

    logger.remove()
    logger.add(ROOT / "log", serialize=True, **options)
    SHIP.append(logger.complete)

    def call(event: str, **fields: Any) -> None:
        logger.info(event, **fields)

    return call


def picologging() -> Call:
    import picologging as peer

    logger = peer.getLogger("peer")
    logger.setLevel(peer.INFO)
    handler = peer.FileHandler(str(ROOT / "log"))
    handler.setFormatter(peer.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return _records(logger)


def opentelemetry() -> Call:
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter

    out = (ROOT / "log").open("w")
    provider = LoggerProvider()
    provider.add_log_record_processor(
        BatchLogRecordProcessor(ConsoleLogRecordExporter(out=out), max_queue_size=100_000)
    )
    logger = logging.getLogger("peer")
    logger.addHandler(LoggingHandler(logger_provider=provider))
    logger.setLevel(logging.INFO)
    SHIP.append(provider.force_flush)
    AFTER.append(provider.shutdown)

    def call(event: str, **fields: Any) -> None:
        logger.info(event, extra=fields)

    return call


def fluent_logger() -> Call:
    from fluent import asyncsender

    server = socket.create_server(("127.0.0.1", 0))

    def read() -> None:
        while True:
            peer, _ = server.accept()
            while peer.recv(1 << 20):
                pass

    threading.Thread(target=read, daemon=True).start()
    sender = asyncsender.FluentSender("peer", host="127.0.0.1", port=server.getsockname()[1], queue_maxsize=0)
    AFTER.append(sender.close)
    return lambda event, **fields: sender.emit(event, fields)


def tensorboard() -> Call:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(ROOT))
    AFTER.append(writer.close)

    def call(_event: str, epoch: int, **_fields: Any) -> None:
        for name, value in SCALARS.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(step=epoch, wall_time=time.time(), summary=summary))

    return call


def wandb() -> Call:
    import wandb as peer

    run = peer.init(project="peer", mode="offline", dir=str(ROOT))
    AFTER.append(run.finish)
    return lambda _event, epoch, **_fields: run.log({**SCALARS, "epoch": epoch})


def mlflow() -> Call:
    import mlflow as peer

    peer.set_tracking_uri(f"sqlite:///{ROOT}/mlflow.db")
    peer.start_run()
    AFTER.append(peer.end_run)
    return lambda _event, epoch, **_fields: peer.log_metrics(SCALARS, step=epoch)


def trackio() -> Call:
    import trackio as peer

    os.environ["TRACKIO_DIR"] = str(ROOT)
    peer.init(project="peer", embed=False)
    AFTER.append(peer.finish)
    return lambda _event, epoch, **_fields: peer.log({**SCALARS, "epoch": epoch})


def aim() -> Call:
    from aim import Run

    run = Run(repo=str(ROOT), system_tracking_interval=None, log_system_params=False)
    AFTER.append(run.close)

    def call(_event: str, epoch: int, **_fields: Any) -> None:
        for name, value in SCALARS.items():
            run.track(value, name=name, step=epoch)

    return call


# Who makes a call, the distribution that it comes from, and how many calls make a round.
PEERS: dict[str, tuple[Callable[[], Call], str, int]] = {
    "logferry": (logferry, "logferry", 2_000),
    "stdlib-file": (stdlib_file, "", 2_000),
    "stdlib-queue": (stdlib_queue, "", 2_000),
    "structlog": (structlog, "structlog", 2_000),
    "loguru": (_loguru, "loguru", 1_000),
    "loguru-enqueue": (lambda: _loguru(enqueue=True), "loguru", 500),
    "picologging": (picologging, "picologging", 2_000),
    "opentelemetry": (opentelemetry, "opentelemetry-sdk", 1_000),
    "fluent-logger": (fluent_logger, "fluent-logger", 1_000),
    "tensorboard": (tensorboard, "tensorboard", 500),
    "wandb": (wandb, "wandb", 100),
    "mlflow": (mlflow, "mlflow", 3),
    "trackio": (trackio, "trackio", 20),
    "aim": (aim, "aim", 50),
}
AFTER: list[Callable[[], Any]] = []
SHIP: list[Callable[[], Any]] = []  # brings to an end what a round left to do in the background


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)


def main(name: str, rounds: int) -> None:
    os.environ |= {"HOME": str(ROOT), "WANDB_SILENT": "true", "WANDB_MODE": "offline", "GIT_PYTHON_REFRESH": "quiet"}
    os.chdir(ROOT)
    make, package, calls = PEERS[name]
    call, (bare, again) = make(), floor.bare_call()

    def ours() -> float:
        found = ns_per_call(call, calls)
        for ship in SHIP:
            ship()
        return found

    def theirs() -> float:
        again()
        return ns_per_call(bare, 2_000)

    found = interleaved(rounds, ours=ours, theirs=theirs)
    for after in AFTER:
        after()
    spreads = {f"{who}, {part} ns": value for who, one in found.items() for part, value in one._asdict().items()}
    version = importlib.metadata.version(package) if package else sys.version.split()[0]
    print()
    print(json.dumps({"ratio": found["ours"].median / found["theirs"].median, "version": version, "spreads": spreads}))
    sys.stdout.flush()
    os._exit(0)  # some leave threads behind that do not end


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
