"""What every store backend does. A backend joins by adding its factory here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from logferry_collector.records import Fault, FileState, Intake, Record, Reject, Stamp
from logferry_collector.store import Store, open_url
from logferry_collector.where import Key, Literal, Matches, OneOf, Query
from support import postgres
from support.depth import sized

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
    assert store.inodes([STAMP.inode, STAMP.inode + 1]) == {STAMP.inode}


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


HOSTILE: list[tuple[Any, Any]] = [
    ("NaN", "NaN"),
    (float("inf"), "Infinity"),
    (12345678901234567890123, 12345678901234567890123),
    (2**63 - 1, 2**63 - 1),
    (1e300, 1e300),
    (1e22, 1e22),
    (5e-324, 5e-324),
    (-0.0, -0.0),
    ("\0", "\0"),
    ("\ud800", "\ud800"),
    ("a\0b\U0001f600\udc00", "a\0b\U0001f600\udc00"),
    ("\U0001f600 ä \u2028 \\u0000 \\ \" '", "\U0001f600 ä \u2028 \\u0000 \\ \" '"),
    ("?%s{}$1:x", "?%s{}$1:x"),
    ({"\0": {"\ud800": [None, True]}}, {"\0": {"\ud800": [None, True]}}),
    ("x" * 100_000, "x" * 100_000),
]


def test_a_document_comes_back_as_it_was_read_to_the_last_sign_and_in_its_order(store: Store) -> None:
    deep: Any = 1
    for _ in range(90):
        deep = [{"in": deep}]
    values = {f"z{number}" if number % 2 else f"a{number}": value for number, (value, _) in enumerate(HOSTILE)}
    values["deep"] = deep
    store.commit([intake("/a", record("r", config=values, metrics=values, notes="a\0\ud800", tags=["\0"]))])
    (found,) = store.documents(Query())
    wanted = [kept for _, kept in HOSTILE] + [deep]
    for section in ("config", "metrics"):
        assert list(found[section].values()) == wanted
        assert [type(value) for value in found[section].values()] == [type(value) for value in wanted]
    assert list(found["config"]) == list(values)
    assert (found["notes"], found["tags"]) == ("a\0\ud800", ["\0"])


@pytest.mark.parametrize("value", [value for value, _ in HOSTILE if isinstance(value, str | int | float)], ids=ascii)
def test_a_hostile_value_is_found_sorted_and_hurts_nobody(store: Store, value: Any) -> None:
    some = [record("one", 1, config={"x": value}), record("two", 2, config={"x": "other"}), record("three", 3)]
    store.commit([intake("/a", *some)])
    key = Key("config", ("x",))
    literal = Literal(value, ascii(value))
    found = runs(store, Query(OneOf(key, (literal,))))
    assert found == (["one"] if value != float("inf") else [])  # among configurations it is a text
    assert set(runs(store, Query(OneOf(key, (literal,), negated=True)))) >= {"two"}
    assert runs(store, Query(sort=key))[-1] == "three"
    assert runs(store, Query(Matches(key, "other"))) == ["two"]


def test_metrics_sort_as_numbers_before_text_and_what_is_missing_at_the_end(store: Store) -> None:
    values = ["Infinity", "-Infinity", 10**30, -3, 0.5, True, "text", "NaN", None, 9007199254740993, 9007199254740992]
    store.commit([intake("/a", *(record(f"{at:02}", at + 1, metrics={"m": one}) for at, one in enumerate(values)))])
    key = Key("metrics", ("m",))
    assert runs(store, Query(sort=key)) == ["01", "03", "04", "05", "10", "09", "02", "00", "06", "07", "08"]
    assert runs(store, Query(sort=key, limit=3)) == ["01", "03", "04"]
    assert runs(store, Query(sort=key, desc=True))[-2:] == ["07", "08"]


@pytest.mark.parametrize("key", [Key("metrics", ("m",)), Key("config", ("c",)), Key("field", ("host",))])
@pytest.mark.parametrize("desc", [False, True])
@pytest.mark.parametrize("limit", [None, 4])
def test_what_an_order_asks_for_and_a_run_has_not_comes_last_both_ways(
    store: Store, key: Key, desc: bool, limit: int | None
) -> None:
    some = [{"metrics": {"m": n}, "config": {"c": f"c{n}"}, "host": f"h{n}"} for n in range(2)]
    store.commit([intake("/a", *(record(f"{at}", at + 1, **one) for at, one in enumerate([{}, *some, {}])))])
    assert runs(store, Query(sort=key, desc=desc, limit=limit)) == (["2", "1"] if desc else ["1", "2"]) + ["0", "3"]


def test_text_is_ordered_by_code_points_whatever_the_locale(store: Store) -> None:
    texts = ["b", "B", "a", "ä", "_", "Z", "\U0001f600", "\uffff", "aa", "a b"]
    store.commit([intake("/a", *(record(f"{at}", at + 1, config={"t": one}) for at, one in enumerate(texts)))])
    found = [document["config"]["t"] for document in store.documents(Query(sort=Key("config", ("t",))))]
    assert found == sorted(texts)


def test_names_that_mean_something_to_sql_are_names(store: Store) -> None:
    names = ["a'b", "a?b", "a%s", "a b", "a.b", "$", "[0]", "0", "{}", "ä", ":x", "--", "key", "%"]
    store.commit([intake("/a", record("r", config={name: at + 1 for at, name in enumerate(names)}))])
    for at, name in enumerate(names):
        key = Key("config", (name,))
        assert key in store.keys()  # noqa: SIM118 - a store is no mapping
        assert runs(store, Query(OneOf(key, (Literal(at + 1, ""),)), sort=key, limit=1)) == ["r"]


def test_thousands_of_keys_in_a_result_and_as_many_over_all_break_nothing(store: Store) -> None:
    keys = sized(2_000, 10_000)
    wide = {f"key{number}": number for number in range(keys)}
    store.commit([intake("/wide", record("wide", config=wide, metrics=wide))])
    own = ({f"own{5 * n + at}": 5 * n + at for at in range(5)} for n in range(keys // 5))
    store.commit([intake("/many", *(record(f"r{n:05}", n + 1, config=one) for n, one in enumerate(own)))])
    assert sum(key.section == "config" for key in store.keys()) == 2 * keys  # noqa: SIM118
    assert runs(store, Query(OneOf(Key("config", ("own77",)), (Literal(77, "77"),)))) == ["r00015"]
    assert runs(store, Query(OneOf(Key("metrics", (f"key{keys - 1}",)), (Literal(keys - 1, str(keys - 1)),)))) == [
        "wide"
    ]
    assert len(next(store.documents(Query(sort=Key("config", ("key1",)), limit=1)))["config"]) == keys


def test_a_path_of_any_length_is_a_path(store: Store) -> None:
    long = "/" + "\\xff" * 1_000 + "/ä" * 1_000
    store.commit([intake(long, record("r")), intake(long + "2", record("s"))])
    store.commit([intake(long, record("r", metrics={"x": 1}), version=2)])
    assert (sorted(store.stamps()), runs(store)) == ([long, long + "2"], ["r", "s"])


def test_an_open_question_does_not_stand_in_the_way_of_a_commit(store: Store) -> None:
    store.commit([intake("/a", *(record(f"r{number:04}", number + 1) for number in range(3_000)))])
    answer = store.documents(Query())
    first = next(answer)["run_id"]
    assert store.commit([intake("/b", record("new"))]) == [True]
    assert [first, *(document["run_id"] for document in answer)][:2] == ["r0000", "r0001"]
    half = store.documents(Query())
    next(half)
    del half
    assert store.counts() == (3_001, 0)


def test_two_versions_of_a_file_in_one_commit_come_one_after_the_other(store: Store) -> None:
    both = [intake("/a", record("old")), intake("/a", record("new"), version=2)]
    assert store.commit(both) == [True, True]
    assert (runs(store), store.files(["/a"])["/a"].version) == (["new"], 2)


def test_a_question_asked_of_a_large_store_gets_an_index_and_the_same_answer(store: Store) -> None:
    rows = (record(f"r{n:04}", n + 1, config={"lr": n % 5}, metrics={"acc": n % 997}) for n in range(2_100))
    store.commit([intake("/a", *rows)])
    where = OneOf(Key("config", ("lr",)), (Literal(3, "3"),))
    wanted = sorted((n for n in range(2_100) if n % 5 == 3), key=lambda n: (-(n % 997), n))
    for _ in range(2):
        found = runs(store, Query(where, Key("metrics", ("acc",)), desc=True, limit=50))
        assert found == [f"r{n:04}" for n in wanted[:50]]
    assert len(runs(store, Query(where))) == 420
    assert len(store.database.indexes("asked_")) == 2  # type: ignore[attr-defined]
