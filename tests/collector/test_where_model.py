"""A WHERE selects from the store what it means in Python, for any expression."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.collecting import Place
from support.depth import depth
from support.oracle import Tree, holds, text_of

VALUES: list[Any] = [
    *(0, 1, -3, 0.5, 1e300, True, False, None, "", "a", "sgd", "Adam", "0.5", "1", "true", "NaN", "Infinity"),
    *([], ["a", 1, 0.5, "it's"], [True, None, [1]], {"b": 1}, "[]", "ä\u2028\U0001f600", "%_", "' OR 1=1 --", "10"),
]
KEYS = ["config.x", "config.y", "metrics.m", "metrics.n", "other", "tags", "status"]
LITERALS = [
    0,
    1,
    -3,
    0.5,
    True,
    False,
    "",
    "a",
    "sgd",
    "0.5",
    "1",
    "NaN",
    "Infinity",
    "[]",
    '["a",1]',
    "it's",
    "ä",
    "' OR",
]
PATTERNS = ["a", "^s", "d$", ".", "(?i)ADAM", "[0-9]+", "a|s", "\\.", "", "^$", "ä", "['%_]"]

# Every kind of value under every key, and each with each.
ROWS = [
    {
        "experiment_id": "e",
        "run_id": f"{number:03}",
        "config": {} if number % 7 == 0 else {"x": value, "y": VALUES[(number * 5 + 1) % len(VALUES)]},
        "metrics": {} if number % 5 == 0 else {"m": value, "n": VALUES[(number * 7 + 2) % len(VALUES)]},
        "other": VALUES[(number * 3) % len(VALUES)],
        "tags": value if isinstance(value, list) else None,
        "status": ["COMPLETED", "FAILED", None][number % 3],
    }
    for number, value in enumerate(VALUES * 2)
]


def conditions() -> st.SearchStrategy[Tree]:
    key, literal = st.sampled_from(KEYS), st.sampled_from(LITERALS)
    return st.one_of(
        st.tuples(key, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), literal),
        st.tuples(key, st.sampled_from(["~", "!~"]), st.sampled_from(PATTERNS)),
        st.tuples(key, st.sampled_from(["in", "not in"]), st.lists(literal, min_size=1, max_size=3)),
        st.tuples(key, st.sampled_from(["has", "not has"]), literal),
        st.tuples(key, st.sampled_from(["is null", "is not null", "is nan", "is not nan"]), st.none()),
    )


def trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        conditions(),
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
        ),
        max_leaves=6,
    )


@pytest.fixture
def filled(each_place: Place) -> Place:
    each_place.append("e/rows.jsonl", *ROWS)
    each_place.collect()
    return each_place


@depth(30)
@given(tree=trees())
@example(tree=("config.x", "!=", "[]"))
@example(tree=("config.x", "in", ["", "[]"]))
@example(tree=("not", ("metrics.m", "<", "a")))
def test_a_where_selects_what_it_means(filled: Place, tree: Tree) -> None:
    wanted = [row["run_id"] for row in ROWS if holds(tree, row) is True]
    assert filled.ids(text_of(tree)) == wanted


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">=", "has"])
def test_every_literal_is_compared_with_every_value_as_it_should_be(filled: Place, operator: str) -> None:
    for literal in LITERALS:
        for key in ("config.x", "metrics.m"):
            tree = (key, operator, literal)
            wanted = [row["run_id"] for row in ROWS if holds(tree, row) is True]
            assert (tree, filled.ids(text_of(tree))) == (tree, wanted)
