"""The conventions' own examples, to the letter."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from logferry.session import open_run
from logferry.settings import load
from support.node import Node

SAMPLE = """\
2025-07-30 13:00:00 [INFO] ExperimentStarted: experiment_id=exp042
2025-07-30 13:00:05 [INFO] ConfigLoaded: learning_rate=0.001, batch_size=128, epochs=20
2025-07-30 13:05:11 [INFO] EpochEnd: epoch=1, train_loss=1.12, train_accuracy=63.0%
2025-07-30 13:10:56 [WARNING] DataWarning: Detected 25 missing labels, using placeholder values
2025-07-30 13:21:40 [DEBUG] BatchProcessed: epoch=5, batch=42, loss=0.94, accuracy=77.0%
2025-07-30 13:44:59 [ERROR] CheckpointError: Failed to save checkpoint at epoch 10 due to IO error
2025-07-30 14:00:00 [INFO] ExperimentCompleted: experiment_id=exp042, status=COMPLETED
"""

DOCUMENT = """\
    {
    "experiment_id": "exp042",
    "timestamp": "2025-07-30T14:00:00Z",
    "status": "COMPLETED",
    "model": "ResNet34",
    "dataset": "CIFAR-10_v3.2",
    "config": {
        "learning_rate": 0.001,
        "batch_size": 128,
        "epochs": 20,
        "seed": 12345
    },
    "metrics": {
        "train_accuracy": 0.991,
        "valid_accuracy": 0.932,
        "test_accuracy": 0.927,
        "final_loss": 0.183
    },
    "notes": "Baseline experiment for reproducibility."
    }
"""


class Clock:
    """Shows the times of a list one after the other, then the last one for ever."""

    def __init__(self, *times: str) -> None:
        self._times: Iterator[int] = iter([self._ns(time) for time in times])
        self.now = self._ns(times[0])

    @staticmethod
    def _ns(time: str) -> int:
        return int(datetime.fromisoformat(f"2025-07-30T{time}").replace(tzinfo=UTC).timestamp()) * 1_000_000_000

    def set(self, time: str) -> None:
        self._times, self.now = iter(()), self._ns(time)

    def __call__(self) -> int:
        self.now = next(self._times, self.now)
        return self.now


def test_the_seven_sample_lines_come_out_to_the_letter(node: Node) -> None:
    node.agent()
    clock = Clock("13:00:00", "13:00:00", "13:00:05")
    config = {"learning_rate": 0.001, "batch_size": 128, "epochs": 20}
    settings = load(node_dir=str(node.dir), home=str(node.home))
    with open_run("exp042", settings, {"config": config}, clock, random.Random(1).randbytes) as run:
        clock.set("13:05:11")
        run.info("EpochEnd", epoch=1, train_loss=1.12, train_accuracy="63.0%")
        clock.set("13:10:56")
        run.warning("DataWarning", "Detected 25 missing labels, using placeholder values")
        clock.set("13:21:40")
        run.debug("BatchProcessed", epoch=5, batch=42, loss=0.94, accuracy="77.0%")
        clock.set("13:44:59")
        run.error("CheckpointError", "Failed to save checkpoint at epoch 10 due to IO error")
        run.flush(until="written", timeout=20)
        clock.set("14:00:00")
    node.stop(node.processes[0])
    assert node.call("logs", "exp042", "--format", "text").stdout == SAMPLE


def test_the_sample_document_comes_back_with_every_field_and_value(node: Node) -> None:
    directory = node.home / "results" / "exp042"
    directory.mkdir(parents=True)
    (directory / "baseline.json").write_text(DOCUMENT)
    (found,) = json.loads(node.call("results", "--format", "json").stdout)
    assert found["run_id"] == "baseline"
    assert {key: found[key] for key in json.loads(DOCUMENT)} == json.loads(DOCUMENT)


def test_the_interface_of_the_readme_works_as_it_is_printed(node: Node) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    node.agent()
    done = node.run_job(code)
    assert (done.returncode, done.stderr) == (0, "")
    shown = node.call("logs", "exp042").stdout
    for said in ("EpochEnd: epoch=1, train_loss=1.12", "Metrics: step=42, loss=0.94", "fold=3, batch=42"):
        assert said in shown
    node.stop(node.processes[0])
    commands = re.findall(r"^\$ logferry (.*)$", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        done = node.call(*shlex.split(command))
        assert (done.returncode, done.stderr.replace("1 of 1 runs complete\n", "")) == (0, ""), command
        assert done.stdout


def test_what_acts_on_a_terminal_is_shown_and_never_sent(node: Node) -> None:
    node.agent()
    code = "import logferry\nwith logferry.init('exp') as run:\n"
    code += "    run.error('Bad\\x1b[2J', 'a\\nb\\x9b31m \\u202e', value='\\x1b]0;title\\x07', **{'k\\x1b': 1})\n"
    code += "    run.result({'acc\\x1b[31m': 1})\n    run.finish('FAILED')\n"
    assert node.run_job(code).returncode == 0
    node.stop(node.processes[0])
    for verb in ("logs", "results", "runs", "verify", "show"):
        arguments = [next(iter(node.asked("runs")))["run_id"]] if verb == "show" else []
        shown = node.call(verb, *arguments).stdout
        assert not any(char in shown for char in "\x1b\x9b\x07\u202e"), verb
