"""What is skipped without being looked at would not have matched, and what there is to look for is what one expects."""

from __future__ import annotations

import re
import sys
from typing import Any

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from logferry.layout import is_control
from logferry_agent.lines import _line
from logferry_agent.needles import ESCAPED, Needles, in_line, in_text_form, literal
from logferry_agent.selection import pattern_of
from logferry_agent.text import text_line

TIME_NS = 1_753_880_405_000_000_000  # 2025-07-30 13:00:05
# What one of the forms escapes, quotes, separates by or folds, and what may be the end of an escape.
LETTERS = st.sampled_from("ab12e8 kKsSiI-_.{}[]:=,\"'\\/\n\t\x1b\x7f\x85\u2028\u202e\u00e9\u017f\u0131\u0130\u212a")
TEXTS = st.lists(LETTERS, max_size=8).map("".join)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
LINES = st.builds(
    lambda name, message, fields: _line(TIME_NS, "INFO", name, message, fields, "k3f9x2mq-1"),
    TEXTS,
    st.none() | TEXTS,
    st.dictionaries(TEXTS, VALUES, max_size=3),
)


@st.composite
def patterns(draw: st.DrawFn, text: str) -> str:
    """Patterns of which most match the text: parts of it as they are, or in another guise."""
    start = draw(st.integers(0, len(text)))
    found = text[start : start + draw(st.integers(0, 12))]
    parts = []
    while found:
        length = draw(st.integers(1, 6))
        part, found = re.escape(found[:length]), found[length:]
        guises = [part, part, f"(?:{part})", f"({part}|x1)", f"(?i:{part})", f"(?:{part})+", f"(?:{part}|)", f"{part}?"]
        guises += [f"(?={part}).*?", f"(?!{part})", f"(?:ab{part})*", f"[{part[-1]}{part[0]}]", ".*", f"(?>{part})"]
        guises += [f"{part}(?<={part})", rf"\b{part}", f"x{{0,2}}{part}", f"(?:{part}|{part}b)"]
        parts.append(draw(st.sampled_from(guises)))
    return draw(st.sampled_from(["", "", "(?i)", "^", "(?s)", "(?a)"])) + "".join(parts)


def holds(line: bytes, needles: Needles) -> bool:
    searched = line.lower() if needles.folded else line
    return all(any(text in searched for text in texts) for texts in needles.groups)


def compiled(pattern: str) -> re.Pattern[str]:
    try:
        return pattern_of(pattern, "--grep")
    except ValueError:
        assume(False)
        raise


@given(LINES, st.data())
def test_a_line_whose_text_form_matches_holds_the_needles(line: bytes, data: st.DataObject) -> None:
    text = text_line(orjson.loads(line))
    pattern = data.draw(patterns(text))
    if compiled(pattern).search(text):
        assert holds(line, in_text_form(pattern))


@given(LINES, st.data())
def test_a_line_that_matches_holds_the_needles(line: bytes, data: st.DataObject) -> None:
    pattern = data.draw(patterns(line.decode()))
    if compiled(pattern).search(line.decode()):
        assert holds(line, in_line(pattern))


@given(LINES, LETTERS, st.text("0123456789abcdefu", max_size=6), LETTERS)
@example(_line(TIME_NS, "INFO", "E", "\u2028needle", {}, "a-1"), "", "28needle", "")
@example(_line(TIME_NS, "INFO", "E", None, {"x": "\x7ffoo"}, "a-1"), "", "ffoo", "")
def test_what_may_be_the_end_of_an_escape_is_no_needle(line: bytes, before: str, middle: str, after: str) -> None:
    pattern = re.escape(before + middle + after)
    if re.search(pattern, text_line(orjson.loads(line))):
        assert holds(line, in_text_form(pattern))


def test_characters_that_only_the_text_form_escapes_are_all_known() -> None:
    def is_escaped_by_text_only(char: str) -> bool:
        return is_control(char) and char.encode() in orjson.dumps(char)

    every = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    assert [code for code in every if is_escaped_by_text_only(chr(code))] == ESCAPED


def test_ascii_letters_with_cases_outside_of_ascii_are_all_known() -> None:
    pattern = re.compile("[a-hjl-rt-z]", re.IGNORECASE)
    assert not [char for char in map(chr, range(128, sys.maxunicode + 1)) if pattern.match(char)]


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("needle-in-the-log", [["needle-in-the-log"]]),
        ("needle-[a-z]+-the", [["needle-"], ["-the"]]),
        ("Failed to save", [["Failed to save"]]),
        ("07-30 13:", [["7-30"], ["3"]]),
        ("loss=0[.]5", [["loss"], [".5"]]),
        ("(?:lost|gone) (?P<n>now)", [["lost", "gone"], ["now"]]),
        ("lost|", []),
        ("|".join(f"{number}x" for number in range(10, 30)), []),
        ("lost?x*(?!never)(not)?", [["los"]]),
        ("(?:lost){2}(?=there)", [["lost"], ["there"]]),
        (r"\x77ord\b", [["word"]]),
        ("(?x) wo rd  # a comment", [["word"]]),
        ("", []),
    ],
)
def test_needles_are_the_longest_texts_that_must_be_there(pattern: str, groups: list[list[str]]) -> None:
    expected = [[text.encode() for text in texts] for texts in groups]
    assert in_text_form(pattern) == Needles(expected)


def test_where_case_is_ignored_needles_are_in_lower_case_and_avoid_letters_with_other_cases() -> None:
    assert in_text_form("(?i)MISsing, Label") == Needles([[b"m"], [b"ng"], [b"label"]], folded=True)
    assert in_text_form("(?i)LOST") + in_text_form("Word") == Needles([[b"lo"], [b"t"], [b"word"]], folded=True)


def test_a_text_is_looked_for_as_json_writes_it() -> None:
    assert literal('a "b"\n') == Needles([[rb"a \"b\"\n"]])
    assert literal("") == Needles([])


def test_warnings_about_a_pattern_stay_unsaid() -> None:
    needles: Any = in_line("[[]x")
    assert needles == Needles([[b"[x"]])
