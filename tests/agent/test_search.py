"""`logferry search`: a text in the running logs of many runs, and what may be skipped without being looked at."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logferry.cli import FINE, NO, UsageError
from logferry_agent.compression import compress
from logferry_agent.fs import FileSystem
from logferry_agent.logs import logs
from logferry_agent.scanner import containing, matching, required
from logferry_agent.search import search
from logferry_agent.text import text_line


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
    with pytest.raises(UsageError, match="--regex"):
        search(["(", "--regex"])


WORDS = st.text('ab1_. =,"\\é\n', max_size=6)


@given(
    st.lists(st.fixed_dictionaries({"e": WORDS, "m": WORDS | st.none(), "v": WORDS | st.integers(0, 99)}), max_size=5),
    st.from_regex(r"([ab1_]|\.|\\d|[ab]\?|[ab1]\*|\[a1\]|1\+|=|b\{0,1\}){1,6}", fullmatch=True),
)
@example([{"e": "E", "m": None, "v": 7}], "v=7*")
@example([{"e": "Abcde", "m": None, "v": 7}], r"\x41bcde")
@example([{"e": "Abcde", "m": None, "v": 7}], r"\101bcde")
@example([{"e": "xdef", "m": None, "v": 7}], r"[x\]abc]def")
def test_what_is_skipped_without_being_looked_at_would_not_have_matched(rows: list[dict[str, Any]], regex: str) -> None:
    needed = required(regex)
    for row in rows:
        line = {"time": "2025-07-30T13:00:00.000000Z", "level": "INFO", "event": row["e"], "field": row["v"]}
        line |= {} if row["m"] is None else {"message": row["m"]}
        raw = json.dumps(line, ensure_ascii=False)
        if re.search(regex, text_line(line)):
            assert needed in raw


@given(
    st.lists(st.text("ab\\ ", max_size=5), max_size=6),
    st.sampled_from(["a", "a.*b", "a[^c]*b", "^a", "b$", "", r"\s", "(a|b)b"]),
)
def test_a_block_gives_the_lines_that_match_by_themselves(lines: list[str], regex: str) -> None:
    pattern = re.compile(regex, re.MULTILINE)
    block = "".join(f"{line}\n" for line in lines).encode()
    hits = [line.decode() for line in matching(pattern)(block)]
    assert hits == [line for line in lines if pattern.search(line)]


@given(st.lists(st.text("ab\\ ", max_size=5), max_size=6), st.text("ab\\ ", max_size=2))
def test_a_block_gives_the_lines_that_hold_a_text_once_each(lines: list[str], text: str) -> None:
    written = [json.dumps(line) for line in lines]
    hits = [*islice(containing(text)("".join(f"{line}\n" for line in written).encode()), len(lines) + 1)]
    assert [hit.decode() for hit in hits] == [line for line in written if json.dumps(text)[1:-1] in line]


def test_logs_with_a_pattern_shows_what_it_shows_without_skipping(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for regex in ("n=[34]", "needle", "needle=1", "E: n=2", "13:00:01"):
        assert logs(["run1", "--grep", regex]) == FINE
        shown = capsys.readouterr().out.splitlines()
        assert logs(["run1"]) == FINE
        assert shown == [line for line in capsys.readouterr().out.splitlines() if re.search(regex, line)]
