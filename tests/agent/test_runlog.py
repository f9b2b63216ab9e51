"""JSON lines: what a producer sent becomes strict JSON, whatever it was."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry_agent import lines
from logferry_agent.lines import LineMaker
from support.writerrig import START_NS, event, record


def render(*events: Any, first: int = 1, after: int = 0) -> list[dict[str, Any]]:
    payload = b"".join(map(record, events))
    rendered = LineMaker().events("aaaaaaaa", first, len(events), payload, after)

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in rendered.data.splitlines()]


def test_a_line_begins_with_its_time_and_ends_with_its_number() -> None:
    payload = record(event("EpochEnd", epoch=1, loss=0.5))
    assert LineMaker().events("aaaaaaaa", 7, 1, payload).data == (
        b'{"time":"2025-07-30T13:00:00.123456Z","level":"INFO","event":"EpochEnd","epoch":1,"loss":0.5,'
        b'"seq":"aaaaaaaa-7"}\n'
    )


def test_a_message_stands_before_the_fields() -> None:
    assert list(render(event(message="hello", x=1))[0]) == ["time", "level", "event", "message", "x", "seq"]


def test_numbers_that_are_not_finite_are_strings_never_null() -> None:
    (line,) = render(event(a=math.nan, b=math.inf, c=[-math.inf], d=None))
    assert (line["a"], line["b"], line["c"], line["d"]) == ("NaN", "Infinity", ["-Infinity"], None)


def test_a_float32_nan_is_a_string_too() -> None:
    raw = msgpack.packb([START_NS, 20, "A", None, {"x": 1}]).replace(b"\x01", b"\xca\x7f\xc0\x00\x00")
    assert render(raw)[0]["x"] == "NaN"


def test_field_names_that_the_line_uses_stand_under_extra() -> None:
    (line,) = render([START_NS, 20, "A", None, {"seq": 5, "level": "mine", "x": 1, "logferry.clipped": ["x"]}])
    assert line["extra"] == {"seq": 5, "level": "mine", "clipped": ["x"]}
    assert (line["seq"], line["x"], line["level"]) == ("aaaaaaaa-1", 1, "INFO")


def test_a_user_cannot_write_the_systems_events() -> None:
    names = [
        line["event"] for line in render(event("logferry.seal"), event("logferry.gap"), event("logferry.seal", level=0))
    ]
    assert names == ["_logferry.seal", "_logferry.gap", "_logferry.seal"]


def test_the_systems_own_records_are_lines_and_documents_are_handed_out() -> None:
    payload = record(event("logferry.result", level=0, status="COMPLETED", revision=3))
    rendered = LineMaker().events("aaaaaaaa", 1, 1, payload)
    assert rendered.documents == [{"status": "COMPLETED", "revision": 3}]
    assert json.loads(rendered.data)["event"] == "logferry.result"


@pytest.mark.parametrize(
    "fields",
    [
        {1: "a", "1": "b"},
        {"b": b"\xff\x00"},
        {"e": msgpack.ExtType(5, b"x")},
        {"t": msgpack.Timestamp(1, 2)},
        {"deep": json.loads("[" * 300 + "]" * 300)},
    ],
    ids=["integer keys", "bytes", "extension", "timestamp", "deep"],
)
def test_what_json_cannot_say_is_shown_somehow(fields: dict[Any, Any]) -> None:
    (line,) = render([START_NS, 20, "A", None, fields], event())[:1]
    assert line["event"] == "A"
    assert len(line) == 4 + len(fields) + ("extra" in line)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xc1" * 6,
        msgpack.packb([1, 2, 3]),
        msgpack.packb("text"),
        msgpack.packb(["t", 20, "A", None, {}]),
        b"\xde\xff\xff" * 4,
    ],
)
def test_what_is_no_event_is_a_gap_line_in_its_place(raw: bytes) -> None:
    found = render(event(i=1), raw, event(i=3))
    assert [line["seq"] for line in found] == ["aaaaaaaa-1", "aaaaaaaa-2", "aaaaaaaa-3"]
    assert (found[1]["cause"], found[1]["first"], found[1]["lost"]) == ("malformed", 2, 1)


def test_where_the_next_record_is_unknown_the_rest_is_one_gap() -> None:
    payload = record(event(i=1)) + b"rubbish that goes on and on and on"
    found = [json.loads(line) for line in LineMaker().events("aaaaaaaa", 1, 3, payload).data.splitlines()]
    assert [(line["seq"], line.get("first"), line.get("lost")) for line in found] == [
        ("aaaaaaaa-1", None, None),
        ("aaaaaaaa-3", 2, 2),
    ]


def test_numbers_at_or_below_the_cursor_are_left_out() -> None:
    assert [line["i"] for line in render(*(event(i=i) for i in range(1, 6)), after=3)] == [4, 5]


@given(st.binary(max_size=80), st.integers(1, 4))
def test_rubbish_never_raises_and_every_number_is_accounted_for(payload: bytes, events: int) -> None:
    rendered = LineMaker().events("aaaaaaaa", 1, events, payload)
    found = [json.loads(line) for line in rendered.data.splitlines()]
    assert sum(line.get("lost", 1) for line in found) == events


FIELDS = st.dictionaries(
    st.text(max_size=5),
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.none()
    | st.lists(st.dictionaries(st.just("},\n,{"), st.just("},\n,{"), max_size=1), max_size=3),
    max_size=4,
)
TEXT = st.text(max_size=6)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**62), st.sampled_from([10, 20, 35]), TEXT, st.none() | TEXT, FIELDS), min_size=1
    ),
    st.sampled_from(["aaaaaaaa", 'a%d"\\']),
)
def test_both_ways_of_rendering_give_the_same_bytes(events: list[tuple[Any, ...]], producer: str) -> None:
    payload = b"".join(record(list(one)) for one in events)
    fast = LineMaker().events(producer, 1, len(events), payload)
    assert fast.data == lines._slow(producer, 1, len(events), payload, 0).data


@pytest.mark.parametrize("fields", [[], [1], "text", None, 7])
def test_fields_that_are_no_map_make_a_gap_and_no_broken_line(fields: Any) -> None:
    payload = record([START_NS, 20, "E", None, fields])
    (found,) = map(json.loads, LineMaker().events("aaaaaaaa", 1, 1, payload).data.splitlines())
    assert (found["event"], found["cause"], found["lost"]) == ("logferry.gap", "malformed", 1)


@pytest.mark.parametrize("time_ns", [-1, -999_999_999, -1_000_000_001, 5.0, -1000.5, True])
def test_a_time_before_1970_and_one_that_is_no_integer_make_a_line_like_any_other(time_ns: Any) -> None:
    payload = record([time_ns, 20, "E", None, {}]) + record([START_NS, 20, "E", None, {}])
    fast = LineMaker().events("aaaaaaaa", 1, 2, payload)
    assert fast.data == lines._slow("aaaaaaaa", 1, 2, payload, 0).data
    assert [json.loads(line)["seq"] for line in fast.data.splitlines()] == ["aaaaaaaa-1", "aaaaaaaa-2"]


def _told(found: lines.Rendered) -> tuple[Any, ...]:
    return found.data, found.lines, math.floor(found.time_ns), [*found.documents], [*found.bad]


UNUSUAL: list[Any] = [
    [START_NS + 5, 0, "logferry.end", None, {"status": "COMPLETED"}],
    [START_NS + 6, 0, "logferry.gap", None, {"shed": {"DEBUG": 3}}],
    [START_NS + 7, 20, "A", None, {"level": "mine"}],
    [START_NS + 8.5, 20, "A", None, {"x": math.nan}],
    [1, 2, 3],
    b"\xc1" * 6,
]


@given(st.lists(st.sampled_from([None] * 30 + UNUSUAL), min_size=2 * lines._FEW, max_size=5 * lines._FEW))
def test_some_unusual_records_among_many_give_the_same_bytes_as_one_record_after_the_other(events: list[Any]) -> None:
    payload = b"".join(record(one or event(i=number)) for number, one in enumerate(events))
    found = LineMaker().events("aaaaaaaa", 1, len(events), payload)
    assert _told(found) == _told(lines._slow("aaaaaaaa", 1, len(events), payload, 0))


@given(st.integers(0, 4 * lines._FEW), st.integers(0, 40))
def test_what_follows_many_records_and_is_none_is_one_gap_wherever_it_begins(whole: int, more: int) -> None:
    payload = record(UNUSUAL[0]) + b"".join(record(event(i=number)) for number in range(whole)) + b"rubbish"
    found = LineMaker().events("aaaaaaaa", 1, 1 + whole + more, payload)
    assert _told(found) == _told(lines._slow("aaaaaaaa", 1, 1 + whole + more, payload, 0))


def test_a_runs_first_and_last_record_make_few_others_take_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    slowly: list[str] = []
    one = lines._one
    monkeypatch.setattr(lines, "_one", lambda raw, seq, documents: slowly.append(seq) or one(raw, seq, documents))
    document = [START_NS, 0, "logferry.result", None, {"status": "RUNNING"}]
    found = render(document, *(event(i=number) for number in range(2000)), UNUSUAL[0])
    assert [line["seq"] for line in found] == [f"aaaaaaaa-{number}" for number in range(1, 2003)]
    assert len(slowly) <= 2 * lines._FEW


@pytest.mark.parametrize("payload", [b"", record(UNUSUAL[0])])
def test_a_record_that_says_it_has_no_events_has_no_lines_and_its_bytes_are_kept(payload: bytes) -> None:
    assert _told(LineMaker().events("aaaaaaaa", 1, 0, payload)) == _told(lines._slow("aaaaaaaa", 1, 0, payload, 0))
