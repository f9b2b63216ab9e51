"""Blocks give the lines that are looked for, each once and in order, however often they hold what is sought."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from logferry_agent.needles import Needles
from logferry_agent.scanner import every, holding, matching

ROWS = st.lists(st.text("abAB\\ \r", max_size=6), max_size=8)
TEXT = st.text("abAB\\", min_size=1, max_size=2)
GROUPS = st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=3)


def block(rows: list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def holds(line: str, groups: list[list[str]]) -> bool:
    return all(any(text in line for text in texts) for texts in groups)


@given(st.lists(ROWS, max_size=3), GROUPS)
def test_lines_with_a_text_of_each_group_are_given_once_and_in_order(
    blocks: list[list[str]], groups: list[list[str]]
) -> None:
    hits = holding(Needles([[text.encode() for text in texts] for texts in groups]))
    for rows in blocks:
        assert [line.decode() for line in hits(block(rows))] == [row for row in rows if holds(row, groups)]


@given(ROWS, TEXT.map(str.lower))
def test_case_is_ignored_where_needles_are_in_lower_case(rows: list[str], text: str) -> None:
    hits = holding(Needles([[text.encode()]], folded=True))
    assert [line.decode() for line in hits(block(rows))] == [row for row in rows if text in row.lower()]


@given(
    ROWS,
    st.sampled_from(["a", "a.*b", "a[^c]*b", "^a", "b$", "", r"\s", "(a|b)b", r"a\Z", r"\Ab", r"a(?!\s)", "(?>a+)"]),
)
def test_lines_that_match_by_themselves_are_given_once_and_in_order(rows: list[str], regex: str) -> None:
    pattern = re.compile(regex, re.MULTILINE)
    hits = [line.decode() for line in matching(pattern, Needles([]))(block(rows))]
    assert hits == [row for row in rows if pattern.search(row)]


def test_the_rarest_text_is_looked_for_once_it_is_known() -> None:
    hits = holding(Needles([[b"often"], [b"never"]]))
    assert list(hits(b"often\n" * 100)) == []
    assert hits._groups[0] == [b"never"]  # type: ignore[attr-defined]


def test_without_needles_all_lines_are_given() -> None:
    assert holding(Needles([])) is every
    assert every(b"a\r\n\nb\n") == [b"a\r", b"", b"b"]
