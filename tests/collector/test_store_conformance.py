"""What every store backend does. A backend joins by adding its factory here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from logferry_collector.records import Fault, FileState, Intake, Record, Reject, Stamp
from logferry_collector.store import Store, open_url
from logferry_collector.where import Key, Literal, OneOf, Query
from support import postgres

STAMP = Stamp(1, 2, 3, 4, 5)
FACTORIES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda root: str(root / "store" / "results.db"),
    "postgres": lambda _root: postgres.shared().fresh_url(),
}


@pytest.fixture(params=FACTORIES.values(), ids=FACTORIES)
def url(request: pytest.FixtureRequest, root: Path) -> str:
    return str(request.param(root))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_url(url)
    yield store
    store.close()


def record(run: str, ordinal: int = 1, part: bool = False, revision: int = 0, **fields: Any) -> Record:
    document = {"experiment_id": "e", "run_id": run, "revision": revision, **fields}
    return Record(ordinal, "e", run, part, revision, document)


def intake(path: str, *records: Record, version: int = 1, rows_after: int | None = 0, **more: Any) -> Intake:
    state = FileState(path, version, more.pop("stamp", STAMP), 10, b"mark", len(records))
    return Intake(state, list(records), more.pop("rejects", []), rows_after, **more)


def runs(store: Store, query: Query | None = None) -> list[str]:
    return [document["run_id"] for document in store.documents(query or Query())]


def test_rows_and_cursor_come_back(store: Store) -> None:
    one = intake("/a", record("r", metrics={"x": 1}))
    assert store.commit([one]) == [True]
    assert list(store.documents(Query())) == [one.records[0].document]
    assert store.files(["/a", "/b"]) == {"/a": one.state}
    assert (store.stamps(), store.files_of_inode(STAMP)) == ({"/a": STAMP}, [one.state])


def test_an_intake_on_top_of_another_version_is_not_taken(store: Store) -> None:
    assert store.commit([intake("/a", record("one"))]) == [True]
    late = intake("/a", record("two"))
    assert store.commit([late, intake("/b", record("three"))]) == [False, True]
    assert runs(store) == ["one", "three"]


def test_rows_after_an_ordinal_are_replaced_and_those_before_stay(store: Store) -> None:
    store.commit([intake("/a", record("r1", 1), record("r2", 2), record("r3", 3))])
    store.commit([intake("/a", record("r4", 2), version=2, rows_after=1)])
    assert runs(store) == ["r1", "r4"]


def test_an_intake_that_keeps_rows_changes_the_reject_only(store: Store) -> None:
    store.commit([intake("/a", record("r"))])
    refused = Reject(0, Fault.UNREADABLE, "why \ud800")
    store.commit([intake("/a", version=2, rows_after=None, rejects=[refused])])
    assert (runs(store), store.counts()) == (["r"], (1, 1))
    assert store.rejects() == [("/a", replace(refused, reason="why \\ud800"))]


def test_a_failed_commit_leaves_nothing(store: Store, url: str) -> None:
    broken = replace(record("bad"), document={"experiment_id": "e", "run_id": "bad", "x": object()})
    with pytest.raises(TypeError):
        store.commit([intake("/a", record("good")), intake("/b", broken)])
    assert (runs(store), store.stamps(), store.keys()) == ([], {}, [])
    other = open_url(url)
    assert other.commit([intake("/a", record("good"))]) == [True]
    other.close()


def test_a_renamed_file_leaves_nothing_under_its_old_name(store: Store) -> None:
    store.commit([intake("/a", record("a-1"), rejects=[Reject(2, Fault.INVALID, "x")])])
    store.commit([intake("/b", record("b-1"), renamed_from="/a")])
    assert (runs(store), list(store.stamps()), store.rejects()) == (["b-1"], ["/b"], [])


def test_the_winner_is_owner_then_revision_then_time(store: Store) -> None:
    older, newer = STAMP, STAMP._replace(mtime_ns=9)
    store.commit([intake("/part", record("r", part=True, revision=99, metrics={"p": 1}))])
    store.commit([intake("/low", record("r", revision=1), stamp=newer)])
    store.commit([intake("/high", record("r", revision=2), stamp=older)])
    store.commit([intake("/high-too", record("r", revision=2), stamp=newer)])
    assert [path for path, _, _ in store.files_of_run("e", "r")] == ["/high-too", "/high", "/low", "/part"]
    assert next(iter(store.documents(Query())))["metrics"] == {"p": 1}


def test_a_second_connection_sees_what_is_committed(store: Store, url: str) -> None:
    other = open_url(url)
    store.commit([intake("/a", record("r"))])
    assert runs(other) == ["r"]
    other.close()


def test_values_come_in_the_order_of_the_keys(store: Store) -> None:
    store.commit([intake("/a", record("r", config={"a": {"b": 1}}, metrics={"m": "NaN"}, status="FAILED"))])
    keys = [Key("metrics", ("m",)), Key("config", ("a", "b")), Key("field", ("status",)), Key("config", ("none",))]
    assert list(store.values(Query(), keys)) == [("NaN", 1, "FAILED", None)]
    assert set(keys[:3]) <= set(store.keys())


def test_lost_is_known_to_conditions_order_and_rows(store: Store) -> None:
    store.commit([intake("/a", record("r", status="RUNNING", host="h")), intake("/b", record("s", status="FAILED"))])
    status = Key("field", ("status",))
    query = Query(OneOf(status, (Literal("LOST", "LOST"),)), status, True, 5, lost_hosts=("h",), lost_before_ns=1_000)
    assert [document["status"] for document in store.documents(query)] == ["LOST"]
    assert runs(store, replace(query, lost_before_ns=4)) == []
    assert store.running_hosts() == ["h"]


def test_rejects_of_files_that_are_gone_can_be_dropped_and_rows_stay(store: Store) -> None:
    reject = Reject(2, Fault.INVALID, "x")
    store.commit([intake("/a", record("r"), rejects=[reject]), intake("/b", rejects=[reject])])
    store.drop_rejects(["/a", "/b", "/none"])
    assert (store.rejects(), runs(store), list(store.stamps())) == ([], ["r"], ["/a"])
