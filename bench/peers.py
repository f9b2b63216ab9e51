"""Other loggers' calls, each from its own package and set up as its documentation recommends, beside the same floor.

Each runs in a process of its own (`peer_call.py`), which measures the floor too, interleaved: what is compared between
loggers is their ratio to it. They are installed in an environment of their own (`make bench`), because some of them
disagree with others about what they need; what could not be installed is said.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from measure import Figure

HERE = Path(__file__).parent
# Name in peer_call.py → whose it is, and what it leaves undone that ours does.
PEERS = {
    "logferry": "durable spool per call, agent running",
    "stdlib-file": "logging.FileHandler, flushed per record, never synced",
    "stdlib-queue": "logging.QueueHandler and QueueListener to a file; the queue dies with the process",
    "structlog": "structlog with orjson to an unbuffered file",
    "loguru": "loguru to a file, serialize",
    "loguru-enqueue": "loguru to a file, serialize, enqueue; the queue dies with the process",
    "picologging": "picologging.FileHandler",
    "opentelemetry": "OpenTelemetry logs, batch processor, exporter to a file",
    "fluent-logger": "fluent-logger's asynchronous sender, to a socket that is read",
    "tensorboard": "tensorboard.summary.Writer, three scalars; no message, no level",
    "wandb": "W&B offline, Run.log of three scalars; no message, no level",
    "mlflow": "MLflow with SQLite, log_metrics of three scalars; no message, no level",
    "trackio": "trackio, log of three scalars; no message, no level",
    "aim": "Aim, track of three scalars; no message, no level",
}
# Where the goal of the call is a share of the peer's cost.
SHARES = {"structlog": 1 / 3, "stdlib-file": 1 / 4}


def figures(python: Path, rounds: int) -> list[Figure]:
    """Measure every peer with the interpreter that has them installed."""
    found = {name: _measured(python, name, rounds) for name in PEERS}
    ours = found["logferry"]
    lines = []
    for name, about in PEERS.items():
        one = found[name]
        if isinstance(one, str):
            lines.append(Figure(f"{name}: not measured: {one}", float("nan"), ""))
            continue
        details: dict[str, float | str] = {"what": about, "version": one["version"], **one["spreads"]}
        lines.append(Figure(f"call of {name} ÷ stamp, pack, copy", one["ratio"], "×", details=details))
        if name in SHARES and not isinstance(ours, str):
            share = ours["ratio"] / one["ratio"]
            lines.append(Figure(f"log call ÷ call of {name}", share, "×", round(SHARES[name], 3)))
    return lines


def _measured(python: Path, name: str, rounds: int) -> dict[str, Any] | str:
    command = [python, HERE / "peer_call.py", name, str(rounds)]
    with tempfile.TemporaryDirectory(prefix="lf-peer-", ignore_cleanup_errors=True) as own:
        env = {**os.environ, "TMPDIR": own}  # some peers end without taking away what they made
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        except (subprocess.TimeoutExpired, OSError) as error:
            return f"{type(error).__name__}"
    last = done.stdout.strip().splitlines()[-1:] or [""]
    try:
        return dict(json.loads(last[0]))
    except ValueError:
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
