"""The live view of `up`: how far each producer is, what is held, and nothing from data that acts on the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from logferry_agent.live import render


def _status(producers: int, **more: Any) -> dict[str, Any]:
    rows = [
        {
            "experiment_id": "exp",
            "run_id": f"run{number}\x1b[2J",
            "pid": 4000 + number,
            "expected": 12_346,
            "durable": 12_000,
            "written": 11_000,
            "sealed": False,
        }
        for number in range(producers)
    ]
    known = {"connected": producers, "journal_bytes": 3 << 20, "queued_bytes": 0, "memory_bytes": 50 << 20, "held": []}
    return {"producers": rows, **known, **more}


def _shown(status: dict[str, Any] | None) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(render(status, 35))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_each_producer_has_a_row_with_its_counts() -> None:
    shown = _shown(_status(2))
    assert "2 producers, 2 connected; journal 3 MiB" in shown
    assert [line.split()[2:] for line in shown.splitlines()[2:]] == [
        ["4000", "12,345", "12,000", "11,000"],
        ["4001", "12,345", "12,000", "11,000"],
    ]


def test_names_from_data_are_shown_and_never_sent() -> None:
    shown = _shown(_status(1))
    assert "\x1b" not in shown
    assert "run0\\x1b[2J" in shown


def test_ended_producers_are_left_out_and_many_are_counted() -> None:
    status = _status(40)
    status["producers"][0]["sealed"] = True
    shown = _shown(status)
    assert "39 producers" in shown
    assert "… and 9 more" in shown


def test_what_is_held_is_said_with_its_path_and_reason() -> None:
    held = [{"what": "running log", "path": "/x/y.jsonl", "error": "No space left on device"}]
    shown = _shown(_status(50, held=held)).splitlines()
    assert shown[1] == "held: running log /x/y.jsonl: No space left on device"
    assert len(shown) < 35


def test_an_agent_that_does_not_answer_is_said() -> None:
    assert "does not answer" in _shown(None)
