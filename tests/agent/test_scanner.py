"""Blocks give the lines that are looked for, each once and in order, however often they hold what is sought."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry_agent.needles import Needles
from logferry_agent.rows import rows_of as lines_of
from logferry_agent.scanner import every, from_time, holding, matching

ROWS = st.lists(st.text("abAB\\ \r", max_size=6), max_size=8)
TEXT = st.text("abAB\\", min_size=1, max_size=2)
GROUPS = st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=3)


def block(rows: list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def rows_of(found: bytes) -> list[str]:
    return found.decode().split("\n")[:-1]


def holds(line: str, groups: list[list[str]]) -> bool:
    return all(any(text in line for text in texts) for texts in groups)


@given(st.lists(ROWS, max_size=3), GROUPS)
def test_lines_with_a_text_of_each_group_are_given_once_and_in_order(
    blocks: list[list[str]], groups: list[list[str]]
) -> None:
    hits = holding(Needles([[text.encode() for text in texts] for texts in groups]))
    for rows in blocks:
        assert rows_of(hits(block(rows))) == [row for row in rows if holds(row, groups)]


def test_a_text_with_a_zero_byte_is_left_to_whoever_looks_at_the_lines() -> None:
    rows = ["a needle", "a\0b needle", "none"]
    assert rows_of(holding(Needles([[b"\0"]]))(block(rows))) == rows
    assert rows_of(holding(Needles([[b"needle"], [b"a\0b", b"c"]]))(block(rows))) == rows[:2]
    assert rows_of(matching(re.compile(r"\x00"), Needles([]))(block(rows))) == rows[1:2]


def test_a_block_that_was_cut_off_is_searched_to_its_end() -> None:
    assert holding(Needles([[b"needle"]]))(b"none\na needle") == b"a needle"


def test_a_line_with_zero_bytes_hides_nothing_behind_it() -> None:
    rows = ["a needle", "a\0b needle", "\0", "none", "needle\0"]
    assert rows_of(holding(Needles([[b"needle"]]))(block(rows))) == [row for row in rows if "needle" in row]
    assert rows_of(holding(Needles([[b"nee"], [b"dle"]], folded=True))(block(rows))) == [
        row for row in rows if "needle" in row
    ]


@given(ROWS, TEXT.map(str.lower))
def test_case_is_ignored_where_needles_are_in_lower_case(rows: list[str], text: str) -> None:
    hits = holding(Needles([[text.encode()]], folded=True))
    assert rows_of(hits(block(rows))) == [row for row in rows if text in row.lower()]


@given(
    ROWS,
    st.sampled_from(["a", "a.*b", "a[^c]*b", "^a", "b$", "", r"\s", "(a|b)b", r"a\Z", r"\Ab", r"a(?!\s)", "(?>a+)"]),
)
def test_lines_that_match_by_themselves_are_given_once_and_in_order(rows: list[str], regex: str) -> None:
    pattern = re.compile(regex, re.MULTILINE)
    hits = matching(pattern, Needles([]))
    assert rows_of(hits(block(rows))) == [row for row in rows if pattern.search(row)]


def test_the_rarest_text_is_looked_for_once_it_is_known() -> None:
    hits = holding(Needles([[b"often"], [b"never"]]))
    assert hits(b"often\n" * 100) == b""
    assert hits._groups[0] == [b"never"]  # type: ignore[attr-defined]


def test_without_needles_all_lines_are_given() -> None:
    assert holding(Needles([])) is every
    assert every(b"a\r\n\nb\n") == b"a\r\n\nb\n"


@pytest.mark.parametrize("between", [0, 1, 4000, 4090, 4096, 5000])
def test_hits_are_found_however_far_apart_they_are(between: int) -> None:
    rows = [f"needle {'x' * between}", "a needle, and a needle", "none", "x" * 10_000, "needle"]
    assert rows_of(holding(Needles([[b"needle"]]))(block(rows))) == [row for row in rows if "needle" in row]


TIMES = st.text('0123456789T:.-Z\\u"x', max_size=4).map("2025-07-30T13:00:05.000000Z".__add__) | st.text(
    '2025-07T:.Z"\\{', max_size=29
)


@given(st.lists(TIMES, max_size=5))
def test_what_is_left_out_for_its_time_is_too_early_however_the_line_is_written(times: list[str]) -> None:
    since = "2025-07-30T13:00:05.000000Z"
    rows = [f'{{"time":"{time}","level":"INFO","event":"E","seq":"a-1"}}' for time in [*times, since]]
    rows += [row.replace('":', '": ', 1) for row in rows]
    found = rows_of(from_time(every, since)(block(rows)))
    assert rows_of(block(rows))[len(times)] in found
    for row in set(rows) - set(found):
        for _, time, *_ in lines_of(block([row])):
            assert time < since
