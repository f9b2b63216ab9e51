"""`logferry search`: a text in the running logs of many runs, and what may be skipped without being looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import FINE, NO, UsageError
from logferry_agent.compression import compress
from logferry_agent.fs import FileSystem
from logferry_agent.logs import logs
from logferry_agent.search import search


def write(home: Path, run: str, name: str, *lines: dict[str, Any], experiment: str = "exp") -> Path:
    path = home / "logs" / experiment / run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"time": f"2025-07-30T13:00:{n:02d}.000000Z", "level": "INFO", "event": "E"} | one
        for n, one in enumerate(lines)
    ]
    with path.open("a") as file:
        file.writelines(
            json.dumps({**row, "seq": "a-1"}, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows
        )
    return path


@pytest.fixture
def runs(home: Path) -> Path:
    zst = write(home, "run1", "node7.20250730T130000Z-1.jsonl", {"n": 1, "note": 'a "needle" here'}, {"n": 2})
    compress(FileSystem(), zst, "zstd")
    gz = write(home, "run1", "node7.20250730T130000Z-2.jsonl", {"n": 3, "needle": 1, "level": "ERROR"})
    compress(FileSystem(), gz, "gzip")
    write(home, "run1", "node7.jsonl", {"n": 4, "event": "needle"}, {"n": 5, "event": "logferry.needle"})
    write(
        home,
        "run2",
        "node8.jsonl",
        {"n": 6, "message": "näedle é"},
        {"n": 7},
        {"n": 8, "message": "needle"},
        experiment="other",
    )
    with (home / "logs/other/run2/node8.jsonl").open("a") as file:
        file.write('{"time":"2025-07-30T13:00:00.000000Z","level":"INFO","event":"needle, half writ')
    return home


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[int]:
    code = search([*arguments, "--json"])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == (FINE if said else NO)
    return [one["line"]["n"] for one in said]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["needle"], [1, 3, 4, 8]),
        (["needle", "--all"], [1, 3, 4, 5, 8]),
        (['a "needle"'], [1]),
        (["näedle é"], [6]),
        (["needle", "--level", "error"], [3]),
        (["needle", "--event", "need*"], [4]),
        (["needle", "--experiment", "o*"], [8]),
        (["needle", "--run", "run1"], [1, 3, 4]),
        (["needle", "--limit", "2"], [1, 3]),
        (["needle", "--since", "2025-07-30T13:00:01"], [8]),
        (["needle", "--until", "2025-07-30T13:00:01"], [1, 3, 4]),
        (["--regex", 'n[^"]*dle é?'], [6]),
        (["--regex", '^.*"n":[78],'], [7, 8]),
        (["nowhere"], []),
    ],
)
def test_lines_of_all_files_that_hold_the_text_and_pass_the_limits(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], numbers: list[int]
) -> None:
    assert found(capsys, *arguments) == numbers


def test_text_lines_begin_with_their_run_and_nothing_acts_on_the_terminal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, "r\x1b[2J", "node7.jsonl", {"x": "needle\x1b[2J"})
    assert search(["needle"]) == FINE
    assert capsys.readouterr().out == 'exp/r\\x1b[2J 2025-07-30 13:00:00 [INFO] E: x="needle\\u001b[2J"\n'


def test_a_damaged_file_is_said_and_the_others_are_searched(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = next((runs / "logs/exp/run1").glob("*.zst"))
    packed.write_bytes(packed.read_bytes()[:-3])
    assert search(["needle"]) == FINE
    said = capsys.readouterr()
    assert len(said.out.splitlines()) >= 3
    assert f"{packed} cannot be read to its end" in said.err


def test_a_wrong_regular_expression_is_a_usage_error(runs: Path) -> None:
    for wrong in ("(", "a{99999999999}", "(" * 5000):
        with pytest.raises(UsageError, match="--regex"):
            search([wrong, "--regex"])


def test_a_text_that_no_line_can_hold_is_a_usage_error(runs: Path) -> None:
    with pytest.raises(UsageError, match="udcff"):
        search(["\udcff"])


def test_logs_with_a_pattern_shows_what_it_shows_without_skipping(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for regex in ("n=[34]", "needle", "needle=1", "E: n=2", "13:00:01"):
        assert logs(["run1", "--grep", regex]) == FINE
        shown = capsys.readouterr().out.splitlines()
        assert logs(["run1"]) == FINE
        assert shown == [line for line in capsys.readouterr().out.splitlines() if re.search(regex, line)]
