"""WHERE as users write it: what it selects, and where it says that it is wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry_collector.names import Names
from logferry_collector.parser import parse
from logferry_collector.where import Key, WhereError
from support.collecting import Place

ROWS = [
    {
        "run_id": "a",
        "status": "COMPLETED",
        "config": {"lr": 0.1, "opt": {"name": "sgd"}},
        "metrics": {"acc": 0.9},
        "tags": ["x", "baseline"],
        "started": "2025-07-30T13:00:05.250000Z",
    },
    {
        "run_id": "b",
        "status": "FAILED",
        "config": {"lr": 0.01, "amp": True},
        "metrics": {"acc": "NaN"},
        "tags": [3],
        "started": "2025-07-31T02:00:00+01:00",
    },
    {
        "run_id": "c",
        "config": {"lr": "0.1", "my key": 1},
        "metrics": {"acc": "Infinity"},
        "dataset": "3",
        "started": "epoch",  # to PostgreSQL that is a time
    },
    {
        "run_id": "7",
        "config": {"lr": "warmup"},
        "metrics": {"val/acc@5": 0.5},
        "extra": "it's",
        "serial": "2024_01",
        "word": 2**64 - 1,
    },
]


@pytest.fixture
def filled(place: Place) -> Place:
    place.append("e/rows.jsonl", *ROWS)
    place.collect()
    return place


COMPARISONS: list[tuple[str, list[str]]] = [
    ("", ["7", "a", "b", "c"]),
    ("status = COMPLETED", ["a"]),
    ("status != COMPLETED", ["b"]),
    ("lr = 0.1", ["a", "c"]),
    ("config.lr = '0.1'", ["c"]),
    ("lr >= 0.01 AND lr < 0.1", ["b"]),
    ("lr > a", ["7"]),
    ("extra = 2024_01", []),
    ("serial = 2024_01", ["7"]),
    ("serial != 202401", ["7"]),
    ("word = 18446744073709551615", ["7"]),
    ("word > 9223372036854775808", ["7"]),
    ("opt.name == sgd", ["a"]),
    ("amp = true", ["b"]),
    ("acc > 0.5", ["a", "c"]),
    ("lr = 0.1 or lr = 0.01 and acc > 0.5", ["a", "c"]),
    ("(lr = 0.1 or lr = 0.01) and acc is nan", ["b"]),
    ("not lr in (0.1, warmup) and not status in (KILLED)", ["b"]),
    ("NOT (acc > 0.7 OR amp is NULL)", []),
    ("acc is not nan and status is null", ["7", "c"]),
    ("not acc > 0.5", []),
    ("acc != 0.9", ["c"]),
    ("tags has baseline", ["a"]),
    ("not tags has 'baseline'", ["7", "b", "c"]),
    ("tags not has 3", ["7", "a", "c"]),
    ('extra ~ "^it.s$"', ["7"]),
    ("extra !~ ^x", ["7"]),
    ("status ~ '(?i)^comp' or dataset ~ .", ["a", "c"]),
    ("started >= 2025-07-30", ["a", "b"]),
    ("started = 2025-07-30", ["a"]),
    ("started > 2025-07-30T13:00", ["b"]),
    ("started <= 2025-07-30T13:00", ["a"]),
    ("started != 2025-07-30 and started < 2026-01-01T00:00:00+02:00", ["b"]),
    ("started in (2025-07-30, '2025-07-31')", ["a", "b"]),
    ("started > -7d", []),
    ("config.'my key' = 1", ["c"]),
    ("config.'opt'.name = 'sgd'", ["a"]),
    ("acc <= 0.9", ["a"]),
    ("metrics.acc = NaN", []),
    ("run_id = 7", ["7"]),
    ("dataset = 3", ["c"]),
    ("dataset >= 2", ["c"]),
    ("val/acc@5=0.5", ["7"]),
    ("'my key' = 1", ["c"]),
    (r"extra = 'it\'s'", ["7"]),
    ('experiment_id="e" and run_id<"b"', ["7", "a"]),
]


def test_comparisons_select_what_they_say(each_place: Place) -> None:
    each_place.append("e/rows.jsonl", *ROWS)
    each_place.collect()
    assert {where: each_place.ids(where) for where, _ in COMPARISONS} == dict(COMPARISONS)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("status", "expected one of = != < <= > >= ~ in has is at column 7"),
        ("status =", "expected a value at column 9"),
        ("= 3", "expected a key at column 1"),
        ("lr = 1 lr = 2", "expected 'and', 'or' or the end at column 8"),
        ("lr = 1 && lr = 2", "expected 'and', 'or' or the end at column 8"),
        ("lr = 1 and", "expected a key at column 11"),
        ("lr = 'x", "a quote without its end at column 6"),
        ("(lr = 1", "expected ')' at column 8"),
        ("lr = 1)", "expected 'and', 'or' or the end at column 7"),
        ("lr in ()", "expected a value at column 8"),
        ("lr in (1 2)", "expected ',' or ')' at column 10"),
        ("lr in 1", "expected '(' at column 7"),
        ("lr not = 1", "expected 'in' or 'has' at column 8"),
        ("lr is 1", "expected 'null' or 'nan' at column 7"),
        ("extra ~ '['", "no regular expression: unterminated character set at position 0 at column 9"),
        ("started > yesterday", "expected a time, as 2025-07-30, 2025-07-30T13:00 or -7d at column 11"),
        ("started > 2025-13-01", "no time: month must be in 1..12 at column 11"),
        ("(" * 60 + "lr = 1" + ")" * 60, "more than 50 levels deep at column 51"),
        (" or ".join(["lr = 1"] * 501), "more than 500 conditions; 'in (…)' takes many values"),
        ("extra = 'a\0'", "a sign that is no text at column 9"),
        ("not", "expected a key at column 4"),
        ("lrr = 1", "no result has a key 'lrr' at column 1: ⟨here⟩lrr = 1; did you mean lr"),
        ("config.acc = 1", "no result has a key 'config.acc'"),
    ],
)
def test_an_error_says_what_and_in_which_column(filled: Place, where: str, message: str) -> None:
    with pytest.raises(WhereError) as caught:
        filled.ids(where)
    assert message in str(caught.value)


def test_nothing_in_a_query_reaches_sql_as_sql(filled: Place) -> None:
    filled.append("e/rows.jsonl", {"run_id": "z", "config": {"x'); DROP TABLE result; --": 1}})
    filled.collect()
    assert filled.ids('"x\'); DROP TABLE result; --" = 1') == ["z"]
    assert filled.ids('run_id = "\' OR 1=1 --"') == []


def test_an_empty_store_knows_no_misspelt_keys(place: Place) -> None:
    assert place.ids("anything = 1 and config.x < 2 and metrics.y > 3") == []


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(WhereError):
        parse(text, Names([Key("config", ("lr",))]))
