"""Indexes made for what is asked change no answer, keep nobody waiting, and are gone without for who may only read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logferry_collector.query import Reader
from logferry_collector.store import Store, StoreRefusedError, open_url
from logferry_collector.store.fragment import Sql, sql
from logferry_collector.where import Key, Query
from support import postgres
from support.collecting import Place

ROWS = 2_100  # a store with fewer is small


def document(number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "run_id": f"r{number:04}",
        "status": "FAILED" if number % 7 == 0 else "COMPLETED",
        "tags": ["odd"] if number % 2 else [],
        "config": {f"key{key}": number % (key + 2) for key in range(20)},
        "metrics": {"acc": "NaN" if number % 1_000 == 999 else number / 8, "steps": number},
    }
    made["config"] |= {"name": f"n{number % 3}"} if number % 11 else {}
    made["config"] |= {"seed": number % 5} if number % 13 else {}
    return made


@pytest.fixture
def large(each_place: Place) -> Place:
    each_place.append("e/r.jsonl", *map(document, range(ROWS)))
    each_place.collect()
    return each_place


def made_in(store: Store) -> list[str]:
    return store.database.indexes("asked_")  # type: ignore[attr-defined, no-any-return]


def grouped(reader: Reader, where: str, by: str) -> dict[Any, tuple[int, Any, Any]]:
    groups = reader.results(where).group(by, metrics=["acc"], agg=["n", "mean"])
    return {row[by]: (row["n"], row.get("acc.n"), row.get("acc.mean")) for row in groups}


def by_hand(where: Any, by: str) -> dict[Any, tuple[int, Any, Any]]:
    groups: dict[Any, dict[Any, list[float]]] = {}
    for number, one in enumerate(map(document, range(ROWS))):
        if where(one):
            value = one["config"].get(by, one.get(by))
            seed = one["config"].get("seed", f"run {number}")
            groups.setdefault(value, {}).setdefault(seed, []).append(float(one["metrics"]["acc"]))
    means = {value: [sum(some) / len(some) for some in seeds.values()] for value, seeds in groups.items()}
    return {value: (len(some), len(some), sum(some) / len(some)) for value, some in means.items()}


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("", lambda _: True),
        ("status = COMPLETED", lambda one: one["status"] == "COMPLETED"),
        ("acc < 100 and key3 != 0", lambda one: float(one["metrics"]["acc"]) < 100 and one["config"]["key3"] != 0),
        ("config.name > n0", lambda one: one["config"].get("name", "") > "n0"),
        ("config.name ~ '[12]'", lambda one: one["config"].get("name", "n0") != "n0"),
        ("config.name is null", lambda one: "name" not in one["config"]),
        ("tags has odd or key1 = 2", lambda one: "odd" in one["tags"] or one["config"]["key1"] == 2),
        (
            "acc is not nan or steps < 1050",
            lambda one: one["metrics"]["acc"] != "NaN" or one["metrics"]["steps"] < 1050,
        ),
    ],
)
def test_groups_of_a_large_store_are_the_same_however_they_are_found(large: Place, where: str, holds: Any) -> None:
    for by in ("key5", "status", "name"):
        wanted = by_hand(holds, by)
        for _ in range(2):  # the first makes what the second uses
            found = grouped(large.reader, where, by)
            assert set(found) == set(wanted)
            for value, (n, there, mean) in wanted.items():
                assert found[value][:2] == (n, there)
                assert found[value][2] == pytest.approx(mean) or (math.isnan(mean) and math.isnan(found[value][2]))


def test_groups_follow_every_change_of_results(large: Place) -> None:
    def groups() -> dict[Any, tuple[int, Any, Any]]:
        return grouped(large.reader, "config.name != n1", "key5")

    assert repr(groups()) == repr(groups())  # the second by what the first has made
    changed = [document(number) | {"metrics": {"acc": 1}} for number in range(ROWS)]
    rewritten = "\n".join(map(json.dumps, changed[1_000:1_500])) + "\n"
    large.write("e/r.jsonl", rewritten)
    large.append("f/r.jsonl", *({"run_id": f"n{n}", "config": {"key5": 1, "name": "x", "seed": n}} for n in range(3)))
    large.collect()
    large.append("e/r.jsonl", *changed[1_500:1_510])
    large.collect()
    found = groups()
    wanted = {}
    for key in range(7):
        some = [
            one["config"] | {"run": one["run_id"]}
            for one in changed[1_000:1_510]
            if one["config"]["key5"] == key and one["config"].get("name", "n1") != "n1"
        ]
        repetitions = len({one.get("seed", one["run"]) for one in some})
        wanted[key] = (repetitions, repetitions, 1.0)
    # Runs without the metric are repetitions without a value.
    wanted[1] = (wanted[1][0], wanted[1][1], 1.0)
    assert found == wanted


def test_an_open_question_lets_others_have_their_indexes_and_the_oldest_go_when_it_ends(large: Place) -> None:
    open_question = iter(large.reader.results())
    first = next(open_question)
    for key in range(18):
        assert len(large.ids(f"key{key} = 1", sort="acc", limit=5)) == 5
    made = made_in(large.store)
    assert len([first, *open_question]) == ROWS
    assert len(large.ids("key19 = 1", sort="acc", limit=5)) == 5
    assert made_in(large.store)[:-1] == made[-15:]


def test_groups_that_are_still_read_keep_the_table_they_are_read_from(root: Path) -> None:
    place = Place(root, open_url(postgres.shared().fresh_url()))
    # More than what is on the way between server and reader.
    long = ({**document(number), "model": f"{number} {'x' * 1_000}"} for number in range(ROWS))
    place.append("e/r.jsonl", *long)
    place.collect()
    model, acc = Key("field", ("model",)), Key("metrics", ("acc",))
    open_groups = place.store.means(Query(), [model], None, [acc])
    first = next(open_groups)
    (oldest,) = made_in(place.store)
    for key in range(17):
        list(place.store.means(Query(), [Key("config", (f"key{key}",))], None, [acc]))
    assert made_in(place.store)[0] == oldest
    assert len([first, *open_groups]) == ROWS
    list(place.store.means(Query(), [Key("config", ("key17",))], None, [acc]))
    assert oldest not in made_in(place.store)
    place.store.close()


@pytest.mark.parametrize("desc", [False, True])
def test_a_server_finds_the_best_by_their_index_from_either_end(
    root: Path, desc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(root, open_url(postgres.shared().fresh_url()))
    place.append("e/r.jsonl", *map(document, range(ROWS)))
    place.collect()
    asked = list[Sql]()
    database = place.store.database  # type: ignore[attr-defined]
    rows = database.rows
    monkeypatch.setattr(database, "rows", lambda one: (asked.append(one), rows(one))[1])
    assert len(place.ids(sort="acc", desc=desc, limit=5)) == 5
    (made,) = made_in(place.store)
    plan = [line for (line,) in rows(sql("EXPLAIN ?", asked[-2]))]
    assert any(f"Scan using {made}" in line for line in plan)
    place.store.close()


def test_who_drops_what_was_made_for_questions_leaves_that_of_other_schemas(root: Path) -> None:
    server = postgres.shared()
    theirs, mine = server.fresh_url(), server.fresh_url()
    both = f"{mine}%2C{theirs.rpartition('%3D')[2]}"  # the search path goes on where mine has nothing
    places = [Place(root / str(number), open_url(url)) for number, url in enumerate((theirs, both))]
    for place in places:
        place.append("e/r.jsonl", *map(document, range(ROWS)))
        place.collect()
        assert len(place.ids(sort="acc", limit=5)) == 5
        assert len(grouped(place.reader, "", "key5")) == 7
    made = [made_in(place.store) for place in places]
    assert made[0] == made[1]
    assert len(made[0]) == 2
    for name in 2 * made[1]:  # by another process of mine meanwhile
        places[1].store.database.drop_index(name)  # type: ignore[attr-defined]
    assert [made_in(place.store) for place in places] == [made[0], []]
    for place in places:
        place.store.close()


@pytest.fixture
def reading_url() -> Iterator[tuple[str, str]]:
    """Return the URLs of an empty store and of the same for a role that may only read."""
    server = postgres.shared()
    url = server.fresh_url()
    open_url(url).close()
    schema = url.rpartition("%3D")[2]
    role = f"reader_{schema}"
    server.ask(f"CREATE ROLE {role} LOGIN")
    server.ask(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    server.ask(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    yield url, url.replace("//postgres@", f"//{role}@")
    server.ask(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_that_may_only_read_asks_without_indexes_and_waits_for_no_writer(
    root: Path, reading_url: tuple[str, str]
) -> None:
    place = Place(root, open_url(reading_url[0]))
    place.append("e/r.jsonl", *map(document, range(ROWS)))
    place.collect()
    store = open_url(reading_url[1])
    reader = Reader(store, place.home)
    wanted = [f"r{number:04}" for number in (2_096, 2_091, 2_086)]
    top = ("key3 = 1", "acc", True, 3)
    assert [one["run_id"] for one in reader.results(*top)] == wanted
    with psycopg.connect(reading_url[0]) as writer:
        writer.execute("SELECT pg_advisory_xact_lock(271, hashtext(current_schema()))")
        assert [one["run_id"] for one in reader.results(*top)] == wanted
        assert len(reader.results().group("key5", metrics=["acc"])) == 7
    assert made_in(store) == []
    with pytest.raises(StoreRefusedError, match="permission denied"):
        store.drop_rejects(["/a"])
    store.close()
    place.store.close()


def test_a_writer_who_owns_nothing_keeps_what_the_owner_made_for_groups(
    root: Path, reading_url: tuple[str, str]
) -> None:
    owner, other = reading_url
    place = Place(root, open_url(other))
    schema = owner.rpartition("%3D")[2]
    postgres.shared().ask(f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}")
    place.append("e/r.jsonl", *map(document, range(ROWS)))
    place.collect()
    store = open_url(owner)
    reader = Reader(store, place.home)
    assert len(reader.results().group("key5", over="seed", metrics=["acc"])) == 7
    assert len(made_in(store)) == 1
    place.append("e/r.jsonl", {"run_id": "new", "config": {"key5": 99, "seed": 1}})
    place.collect()
    for one in (reader, Reader(place.store, place.home)):  # the other may not read what the owner made, and need not
        assert [row["key5"] for row in one.results().group("key5", over="seed", metrics=["acc"])][-1] == 99
    store.close()
    place.store.close()


def test_who_may_only_read_gets_answers_and_is_told_that_new_files_are_not_in(
    root: Path, reading_url: tuple[str, str]
) -> None:
    place = Place(root, open_url(reading_url[1]))
    place.write("e/r.json", {"metrics": {"x": 1}})
    reader = Reader(place.store, place.home, place.collect)
    assert list(reader.results()) == []
    assert "permission denied" in reader.stale
    place.store.close()


def test_what_keeps_groups_finds_its_own_table_whatever_its_writer_has_of_that_name(root: Path) -> None:
    url = postgres.shared().fresh_url()
    place = Place(root, open_url(url))
    place.append("e/r.jsonl", *map(document, range(ROWS)))
    place.collect()
    place.reader.results().group("key5", over="seed", metrics=["acc"])
    (name,) = made_in(place.store)
    schema = url.rpartition("%3D")[2]
    damage = place.store.database.damage  # type: ignore[attr-defined]
    with psycopg.connect(postgres.shared().url(), autocommit=True) as writer:  # whose search path is another one
        writer.execute(f'CREATE TEMP TABLE "{name}" AS TABLE {schema}."{name}" WITH NO DATA'.encode())
        writer.execute(f"CREATE TEMP TABLE gone AS SELECT * FROM {schema}.result LIMIT 3".encode())
        writer.execute(f"DELETE FROM {schema}.result WHERE run_id IN (SELECT run_id FROM gone)".encode())
        assert damage() == []
        writer.execute(f"INSERT INTO {schema}.result TABLE gone".encode())
        assert damage() == []
    place.store.close()
