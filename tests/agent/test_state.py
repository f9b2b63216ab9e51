"""The agent's database: what is committed together, and what happens when it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from logferry_agent.state import Checkpoint, Cursor, Key, State, Unsettled

ONE = Checkpoint("exp", "run1", "jsonl", 7, "n.jsonl", 5, 100, b"tail", cursors={"aaaaaaaa": Cursor(9, 8)})


@pytest.fixture
def state(root: Path) -> Iterator[State]:
    found = State(root / "state.db", 0)
    yield found
    found.close()


def reopened(state: State) -> State:
    state.close()
    state.__init__(state.path, 0)  # type: ignore[misc]
    return state


def test_a_checkpoint_reads_back_as_it_was(state: State) -> None:
    state.commit([ONE], [], 3)
    assert reopened(state).checkpoint(Key("exp", "run1", "jsonl")) == ONE
    assert state.dispatched() == 3
    assert state.checkpoint(Key("exp", "run2", "jsonl")) is None


def test_what_is_due_is_committed_with_the_checkpoint_and_grows_with_later_ones(state: State) -> None:
    state.commit([ONE], [Unsettled("exp", "run1", {"revision": 2}, {})], 3)
    assert state.results_due() == []
    state.commit([ONE], [Unsettled("exp", "run1", {"revision": 1}, {"aaaaaaaa": {"end": "x"}})], 3)
    assert state.results_due() == [Unsettled("exp", "run1", {"revision": 2}, {"aaaaaaaa": {"end": "x"}})]


def test_what_cannot_all_be_committed_is_not_committed_in_part(state: State) -> None:
    state.commit([ONE], [], 3)
    with pytest.raises(TypeError):
        state.commit([ONE._replace(position=8)], [Unsettled("exp", "run1", {"no": object()}, {})], 4)
    assert reopened(state).checkpoint(ONE.key) == ONE
    assert state.dispatched() == 3


def test_a_seal_that_came_while_a_result_was_settled_keeps_it_due(state: State) -> None:
    state.commit([], [Unsettled("exp", "run1", None, {"aaaaaaaa": {}})], 3)
    state.commit([], [Unsettled("exp", "run1", None, {"bbbbbbbb": {}})], 3)
    state.settled("exp", "run1", seals=1, forget=True)
    assert len(state.results_due()) == 1
    state.settled("exp", "run1", seals=2, forget=True)
    assert state.results_due() == []


def test_a_document_that_passes_by_later_leaves_what_is_due_due(state: State) -> None:
    state.commit([], [Unsettled("exp", "run1", None, {"aaaaaaaa": {}})], 3)
    state.commit([], [Unsettled("exp", "run1", {"revision": 1}, {})], 3)
    assert state.results_due() == [Unsettled("exp", "run1", {"revision": 1}, {"aaaaaaaa": {}})]


def test_a_file_is_current_until_it_is_final_and_so_is_the_name_that_it_is_about_to_have(state: State) -> None:
    state.commit([ONE._replace(name="n.jsonl", rotating="n.20250101T000000Z-1.jsonl", final=False)], [], 3)
    assert {name for *_, name in state.current_files()} == {"n.jsonl", "n.20250101T000000Z-1.jsonl"}
    state.commit([ONE._replace(name="n.jsonl", rotating=None, final=True)], [], 3)
    assert state.current_files() == set()


def test_only_final_checkpoints_are_forgotten(state: State) -> None:
    text = ONE._replace(kind="text", final=False)
    state.commit([ONE._replace(kind="jsonl", final=True), text], [], 3)
    state.forget_outputs(ONE.experiment, ONE.run)
    assert [state.checkpoint(ONE._replace(kind=kind).key) for kind in ("jsonl", "text")] == [None, text]


def test_where_a_lost_database_ended_is_noted_once(state: State) -> None:
    assert state.salvage_end(7) == 7
    assert reopened(state).salvage_end(99) == 7


def test_overrides_are_set_and_reset(state: State) -> None:
    state.set_level("exp", "", 10)
    state.set_level("exp", "run1", 40)
    state.set_level("exp", "", None)
    assert reopened(state).levels() == {("exp", "run1"): 40}


@pytest.mark.parametrize("damage", [b"", b"no database at all", None], ids=["empty", "rubbish", "a flipped page"])
def test_an_unreadable_database_is_set_aside_and_begun_anew(root: Path, damage: bytes | None) -> None:
    path = root / "state.db"
    first = State(path, 0)
    first.commit([ONE], [], 3)
    first.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000 if damage is None else damage)
    second = State(path, 5 * 10**9)
    assert second.checkpoint(ONE.key) is None
    second.commit([ONE], [], 3)
    assert second.checkpoint(ONE.key) == ONE
    if damage != b"":
        assert second.set_aside == root / "state.db.bad-5"
    second.close()
