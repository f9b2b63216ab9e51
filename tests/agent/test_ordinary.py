"""The text form of a line is the same whether the line is parsed for it or not."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logferry_agent.lines import _line
from logferry_agent.ordinary import rows_of, texts_of
from logferry_agent.text import text_line

TIME_NS = 1_753_880_405_000_000_000
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=6)
TRICKY = [
    "",
    " x",
    "x ",
    "-",
    "-1",
    "1e5",
    "1E",
    "12%",
    "1.5.",
    "2025-07-30",
    "true",
    "truex",
    "null",
    "[x",
    "{",
    "a:b",
]
TRICKY += ["a=b", "a,b", 'a"', "a\\b", "{", "a:b", ":a", "1 ", "1 2", "\u00e9", "\x1b", "NaN", "+1", "--", "0x1f"]
TEXTS = PRINTABLE | st.sampled_from(TRICKY)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-9, 9) | st.floats() | st.floats(-1, 1) | st.floats(0, 1e-4)
VALUES = TEXTS | NUMBERS | st.booleans() | st.none() | st.lists(st.integers(), max_size=1)


def text(line: str) -> str | None:
    (found,) = rows_of(f"{line}\n")
    return texts_of([found])[0] if found[1] else None


@given(TEXTS, st.none() | TEXTS, st.dictionaries(TEXTS, VALUES, max_size=4), st.sampled_from(["DEBUG", "CRITICAL"]))
@example("E", "a=b", {}, "DEBUG")
@example("E", "a, b: c", {"message": 1}, "DEBUG")
def test_an_ordinary_line_has_the_text_form_of_its_parsed_self(
    name: str, message: str | None, fields: dict[str, object], level: str
) -> None:
    line = _line(TIME_NS, level, name, message, fields, "k3f9x2mq-1")
    assert text(line[:-1].decode()) in {None, text_line(orjson.loads(line))}


@pytest.mark.parametrize("value", TRICKY)
def test_a_string_is_quoted_as_when_the_line_is_parsed(value: str) -> None:
    for name, message, fields in (
        ("E", None, {"x": value}),
        ("E", value, {}),
        ("E", value, {"n": 1}),
        (value, "m", {}),
    ):
        line = _line(TIME_NS, "INFO", name, message, fields, "a-1")
        assert text(line[:-1].decode()) in {None, text_line(orjson.loads(line))}


@given(
    st.text("0123456789.-e", min_size=1, max_size=9)
    | st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{1,9})?(e[-+][0-9]{1,3})?", fullmatch=True)
)
@example("1e-5")
@example("1e+15")
@example("10e-7")
@example("1.0e-7")
@example("-0")
@example("0.10")
@example("0.000001")
def test_a_number_is_ordinary_only_as_orjson_writes_it(token: str) -> None:
    line = f'{{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":{token},"seq":"a-1"}}'
    shown = text(line)
    assert shown is None or shown == text_line(orjson.loads(line))


@example(1.0000000000000002)
@example(1.0000000000000002e-290)
@given(st.floats(1e-290, 1e290) | st.floats(-1, 1).filter(lambda value: abs(value) > 1e-290) | st.just(0.0))
def test_every_float_that_programs_log_is_ordinary(value: float) -> None:
    assert text(_line(TIME_NS, "INFO", "E", None, {"x": value, "y": 1}, "a-1")[:-1].decode())


@pytest.mark.parametrize(
    "fields",
    ['"epoch":1,"loss":0.94,"accuracy":"77.0%"', '"a":-12.5,"b":true,"c":null', '"message":"Failed to save, again"']
    + ['"message":"well, well","n":1', '"path":"/data/x-1.npz","when":"2025-07-30 13:00"'],
)
def test_what_programs_log_is_ordinary(fields: str) -> None:
    assert text(f'{{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"Epoch.End",{fields},"seq":"a-1"}}')


@pytest.mark.parametrize(
    "line",
    [
        '{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","seq":"a-1"',
        '{"time":"2025-07-30T13:00:05.000000Z","level":"LOUD","event":"E","seq":"a-1"}',
        '{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","level":"ERROR","seq":"a-1"}',
        '{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":1.2.3,"seq":"a-1"}',
        '{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":01,"seq":"a-1"}',
        '{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":nan,"seq":"a-1"}',
        '{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":"\t","seq":"a-1"}',
    ],
)
def test_what_is_no_line_or_says_something_twice_is_not_ordinary(line: str) -> None:
    assert text(line) is None
