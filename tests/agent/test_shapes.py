"""Lines that are taken apart by their shape are what they are one by one."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from logferry_agent import ordinary, rows
from logferry_agent.lines import _line
from logferry_agent.shapes import Shapes

TIME_NS = 1_753_880_405_000_000_000
TEXTS = st.sampled_from(
    ["x", "a b", "50%", "%s", "a=b", "well, well", "", "12", "true", ":x", "[x", 'q"', "\u00e9", "E"]
)
VALUES = TEXTS | st.sampled_from([1, -1, 0.5, 1e-7, 1e16, True, None, 10**30, [1], float("nan"), -0.0])
LINES = st.builds(
    lambda level, name, message, fields, number: _line(TIME_NS, level, name, message, fields, f"a-{number}").decode(),
    st.sampled_from(["INFO", "ERROR"]),
    st.sampled_from(["E", "50%", "a b"]),
    st.none() | TEXTS,
    st.fixed_dictionaries({}, optional={"a": VALUES, "b%s": VALUES, "c.d": VALUES}),
    st.integers(1, 99),
)
# Mostly of one shape.
ALIKE = st.builds(
    lambda name, message, fields: [
        _line(
            TIME_NS + n * 10**9, "INFO", name, message, dict(zip(["a", "b%s"], values, strict=False)), f"a-{n}"
        ).decode()
        for n, values in enumerate(fields)
    ],
    st.sampled_from(["E", "50%"]),
    st.none() | TEXTS,
    st.integers(0, 2).flatmap(lambda count: st.lists(st.tuples(*[VALUES] * count), min_size=1, max_size=4)),
)
BROKEN = st.sampled_from(["\n", "{}\n", "x\n", '{"time":"2025"}\n'])


def shown(found: list[ordinary.Row]) -> list[tuple[str, ...]]:
    """Return what is to be the same, however lines were taken apart."""
    return [(*row[:4], text) for row, text in zip(found, rows.texts_of(found), strict=True)]


@given(st.lists(st.lists(LINES | BROKEN, max_size=6), max_size=4))
@example([['{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":1,"n":2,"seq":"a-1"}\n'] * 2] * 2)
def test_lines_are_the_same_whatever_shape_was_learnt(blocks: list[list[str]]) -> None:
    shapes = Shapes(learn_after=0)
    for lines in blocks:
        block = "".join(lines).encode()
        found = rows.rows_of(block, shapes.rows_of)
        assert shown(found) == shown(rows.rows_of(block))
        # The shape that was learnt, or not learnt again, on the same lines.
        assert shown(rows.rows_of(block, shapes.rows_of)) == shown(found)


@given(st.lists(ALIKE | st.lists(LINES | BROKEN, min_size=1, max_size=3), max_size=4), TEXTS)
@example([['{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","n":1,"seq":"a-1"}\n'] * 2] * 2, "3")
def test_lines_that_are_all_of_the_shape_are_the_same_as_one_by_one(blocks: list[list[str]], text: str) -> None:
    shapes = Shapes(learn_after=0, sure_after=0)
    for lines in blocks:
        block = "".join(lines).encode()
        found = shown(rows.rows_of(block, shapes.rows_of))
        alike = shapes.alike(block)
        if alike:
            raws, texts = alike.raws(), alike.texts()
            assert [
                (raw, raw[9:36], alike.level, alike.event, one) for raw, one in zip(raws, texts, strict=True)
            ] == found
            assert not alike.all_show(text) or all(text in one for one in texts)


def test_blocks_are_taken_for_alike_after_several_and_no_more_after_one_that_is_not() -> None:
    shapes = Shapes(learn_after=0, sure_after=2)
    lines = [_line(TIME_NS, "INFO", "E", None, {"a": n, "b": "x"}, f"a-{n}").decode() for n in (1, 21)]
    block = "".join(lines)
    assert not shapes.alike(block.encode())
    for _ in range(3):  # by the first one the shape is learnt
        assert not shapes.alike(block.encode())
        shapes.rows_of(block)
    alike = shapes.alike(block.encode())
    assert alike
    assert [alike.all_show(text) for text in ("1", "x", "2025-07", "21", "a", "")] == [True] * 3 + [False] * 2 + [True]
    assert not shapes.alike(f"{block}broken\n".encode())
    assert not shapes.alike(block.encode())


def test_what_most_lines_are_is_learnt_and_others_between_them_do_not_change_it() -> None:
    shapes = Shapes(learn_after=0)
    most = [_line(TIME_NS, "INFO", "E", None, {"a": n}, f"a-{n}").decode() for n in range(9)]
    other = _line(TIME_NS, "INFO", "F", "message", {}, "a-9").decode()
    block = "".join([*most[:5], other, *most[5:], "broken\n"])
    for _ in range(3):
        found = shapes.rows_of(block)
    assert [row[4] == "\n" for row in found] == [True] * 5 + [False] + [True] * 4 + [False]


def test_a_log_without_ordinary_lines_teaches_nothing() -> None:
    shapes = Shapes(learn_after=0)
    assert [row[1] for _ in range(2) for row in shapes.rows_of("broken\n")] == ["", ""]
