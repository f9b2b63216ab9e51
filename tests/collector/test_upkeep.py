"""`logferry store`: copied, checked and rebuilt stores are equal to what they were."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import main
from logferry_collector import running
from logferry_collector.store import Store, StoreDownError, StoreRefusedError, indexes, open_url, shown, upkeep
from logferry_collector.store.database import ASKED
from logferry_collector.store.fragment import Sql
from logferry_collector.where import Query
from support import postgres
from support.collecting import SAMPLE, Place


@pytest.fixture
def full(each_place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place with all that a store keeps."""
    place = each_place
    monkeypatch.setenv("LOGFERRY_HOME", str(place.home.path))
    monkeypatch.setenv("LOGFERRY_STORE", place.store.url)
    place.write("e/a.json", SAMPLE | {"experiment_id": "e", "metrics": {"x": "NaN", "s": "\0\ud800", "n": 2**70}})
    place.write("e/a.part-p.json", {"metrics": {"y": 2}})
    place.append("e/b.jsonl", {"run_id": "b1"}, "oops", {"run_id": "b2", "config": {"deep": {"er": 1.5}}})
    place.write("e/bad.json", "{")
    place.settle()
    return place


def content(store: Store) -> Any:
    return (
        list(store.documents(Query())),
        sorted(store.keys()),
        store.rejects(),
        sorted(store.stamps().items()),
        [store.files_of_run("e", run) for run in ("a", "b1", "b2")],
    )


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_pattern_that_the_database_does_not_know_is_an_error_of_who_asks(
    full: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["results", "status ~ '(?P<name>COMP)'"])
    assert code == (2 if full.store.url.startswith("postgres") else 0)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_every_type_of_the_database_can_be_printed(
    home: Path, node_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.setenv("LOGFERRY_STORE", postgres.shared().fresh_url())
    some = "1.5 n, 'NaN'::numeric nan, DATE '2025-01-02' d, interval '1 minute' i, 'a'::bytea b, gen_random_uuid() u"
    assert main(["sql", f"SELECT {some}", "--format", form]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("1.5", "2025-01-02", "60", "61"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u:…@h/d"),
        ("postgresql://h/d?user=u&password=secret&x=y", "postgresql://h/d?user=u&password=…&x=y"),
        ("postgresql://h/d?sslpassword=secret", "postgresql://h/d?sslpassword=…"),
    ],
)
def test_no_password_is_shown(place: Place, url: str, said: str) -> None:
    assert shown(url) == said
    running.write_status(place.home, {"store": said, "held": [{"error": "down"}]})
    assert running.held(place.home, url) == f"the collector is held back by the store {said}: down"
    with pytest.raises(StoreRefusedError, match=r"^(?!.*secret)"):
        open_url("mysql" + url.removeprefix("postgresql"))


@pytest.mark.parametrize("to", ["sqlite", "postgres"])
def test_a_copy_is_equal_whichever_the_databases_are(
    full: Place, root: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(root / "copy.db") if to == "sqlite" else postgres.shared().fresh_url()
    assert said(capsys, "store", "copy", full.store.url, target)["results"] == 3
    copied = open_url(target)
    assert content(copied) == content(full.store)
    copied.close()
    assert main(["store", "copy", full.store.url, target]) == 2
    assert "is not empty" in capsys.readouterr().err
    # Who collects into the copy finds nothing new.
    place = Place(root, open_url(target))
    assert place.collect() == 0
    place.store.close()


def test_nobody_writes_to_a_store_while_it_is_copied(place: Place, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, refused = open_url(place.store.url, busy_s=0.01), []

    def some(rows: Any) -> Any:
        with pytest.raises(StoreDownError), other.database.writing():  # type: ignore[attr-defined]
            pass
        refused.append(1)
        return real(rows)

    real = upkeep._some
    monkeypatch.setattr(upkeep, "_some", some)
    assert main(["store", "copy", place.store.url, str(root / "copy.db")]) == 0
    assert len(refused) == 4
    other.close()


def test_a_whole_store_has_no_problems_and_a_damaged_one_says_which(
    full: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "store", "check")["problems"] == []
    with full.store.database.writing() as session:  # type: ignore[attr-defined]
        session.run(Sql("UPDATE result SET status = 'BEST' WHERE run_id = 'a'"))
        session.run(Sql("DELETE FROM result WHERE run_id = 'b1'"))
        session.run(Sql("DELETE FROM candidate WHERE run_id = 'b2'"))
        session.run(Sql("UPDATE reject SET file = 99 WHERE line = 0"))
    found = said(capsys, "store", "check", code=1)["problems"]
    assert [problem.split()[0] for problem in found] == ["1", "e/a", "e/b1", "e/b2"]


def test_what_groups_are_made_from_is_checked_and_made_anew(
    full: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "_FROM_ROWS", 1)
    database = full.store.database  # type: ignore[attr-defined]
    before = repr(full.reader.results().group("config.deep.er", metrics=["x", "n"]).rows)
    (name,) = database.indexes(ASKED)
    assert said(capsys, "store", "check")["problems"] == []
    if full.store.url.startswith("postgres"):  # SQLite has an index, and checks it itself
        with database.writing() as session:
            session.run(Sql(f'UPDATE "{name}" SET k0 = 7 WHERE k0 IS NOT NULL'))
            session.run(Sql(f'DELETE FROM "{name}" WHERE m1 IS NOT NULL'))
        (problem,) = said(capsys, "store", "check", code=1)["problems"]
        assert problem == f"3 rows of table {name}, of which groups are made, are not as the results are"
    assert said(capsys, "store", "rebuild")["results"] == 3
    assert database.indexes(ASKED) == []
    assert repr(full.reader.results().group("config.deep.er", metrics=["x", "n"]).rows) == before
    assert said(capsys, "store", "check")["problems"] == []


def test_a_rebuilt_store_is_equal_to_the_one_before(full: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "a", "+best"]) == 0
    assert main(["note", "b1", "look here"]) == 0
    full.restart()
    full.settle()
    capsys.readouterr()
    before = content(full.store)
    with full.store.database.writing() as session:  # type: ignore[attr-defined]
        session.run(Sql("UPDATE result SET status = 'BEST'"))
    assert said(capsys, "store", "rebuild")["results"] == 3
    full.restart()
    full.settle()  # the bad file waits again
    assert content(full.store) == before
    assert before[0][0]["tags"] == ["best"]


def test_rows_whose_file_is_gone_are_forgotten_only_on_request(full: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (full.home.results / "e" / "b.jsonl").unlink()
    assert main(["store", "rebuild"]) == 1
    assert "1 files are gone" in capsys.readouterr().err
    assert full.ids() == ["a", "b1", "b2"]
    assert len(said(capsys, "store", "rebuild", "--forget")["forgotten"]) == 1
    assert full.ids() == ["a"]


def test_what_was_taken_in_from_elsewhere_stays(full: Place, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "far.json").write_text(json.dumps(SAMPLE | {"run_id": "far", "config": {"only_here": 1}}))
    assert main(["ingest", str(root / "far.json")]) == 0
    (root / "far.json").unlink()
    capsys.readouterr()
    assert said(capsys, "store", "rebuild")["results"] == 4
    assert full.ids("only_here = 1") == ["far"]


def test_a_file_whose_name_is_no_text_is_there(full: Place, capsys: pytest.CaptureFixture[str]) -> None:
    named = os.fsencode(full.home.results / "e") + b"/\xff.json"
    Path(os.fsdecode(named)).write_text('{"run_id": "odd"}')
    full.settle()
    assert said(capsys, "store", "rebuild")["results"] == 4
