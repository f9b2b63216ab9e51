"""The verbs that ask the store, as the command line runs them."""

from __future__ import annotations

import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from logferry.cli import main
from support.collecting import SAMPLE, Place


@pytest.fixture
def place(home: Path, node_dir: Path, place: Place) -> Place:
    """The same place, known to the command line by its environment."""
    return place


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    assert main(arguments) == code
    return capsys.readouterr().err


def sweep(place: Place) -> None:
    for lr in (0.1, 0.2):
        for seed in (1, 2):
            config, metrics = {"lr": lr, "seed": seed, "same": 1}, {"acc": lr * seed}
            place.append("e/s.jsonl", {"run_id": f"{lr}-{seed}", "config": config, "metrics": metrics})


def test_the_sample_document_comes_back_from_results_as_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("anything.json", SAMPLE)
    for form in (("--format", "json"), ("--json",)):
        assert json.loads(printed(capsys, "results", *form)) == [SAMPLE | {"run_id": "anything"}]


def test_the_table_shows_ids_what_differs_and_says_what_is_the_same(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(place)
    assert main(["results", "lr", "=", "0.1", "--sort", "acc", "--desc"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines == [["run_id", "acc", "seed"], ["0.1-2", "0.2", "2"], ["0.1-1", "0.1", "1"]]
    assert err == "logferry: the same in all 2: experiment_id=e, config.lr=0.1, config.same=1\n"


def test_groups_are_shown_as_mean_and_deviation(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(place)
    lines = printed(capsys, "results", "--group-by", "lr", "--sort", "acc", "--desc").splitlines()
    assert [" ".join(line.split()) for line in lines] == ["lr n acc", "0.2 2 0.30 ± 0.14", "0.1 2 0.150 ± 0.071"]
    (first, _) = json.loads(printed(capsys, "results", "--group-by", "lr", "--json"))
    assert (first["lr"], first["n"], first["acc.n"]) == (0.1, 2, 2)


def test_columns_limit_csv_and_markdown(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(place)
    chosen = ("results", "--columns", "run_id,acc", "--limit", "1")
    assert printed(capsys, *chosen, "--format", "csv") == "run_id,metrics.acc\n0.1-1,0.1\n"
    assert printed(capsys, *chosen, "--format", "markdown").splitlines()[2] == "| 0.1-1 | 0.1 |"
    assert json.loads(printed(capsys, *chosen, "--json")) == [{"run_id": "0.1-1", "metrics.acc": 0.1}]


def test_parquet_goes_to_a_file_or_a_pipe(place: Place, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(place)
    assert main(["results", "--format", "parquet", "--output", str(root / "out.parquet")]) == 0
    out = TextIOWrapper(BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["results", "--format", "parquet"]) == 0
    assert len(pd.read_parquet(BytesIO(out.buffer.getvalue()))) == len(pd.read_parquet(root / "out.parquet")) == 4


def test_runs_lists_what_started_last_first(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for run, started in (("a", "2025-01-01T00:00:00Z"), ("b", "2025-01-02T00:00:00Z"), ("c", None)):
        place.append("e/r.jsonl", {"run_id": run, "status": "COMPLETED", "started": started})
    found = json.loads(printed(capsys, "runs", "--json"))
    assert [run["run_id"] for run in found] == ["b", "a", "c"]
    assert {"run_id", "experiment_id", "status"} <= set(found[0])
    assert printed(capsys, "runs", "run_id = c").splitlines()[1].split() == ["c", "e", "COMPLETED"]


def test_show_has_the_errors_first_then_the_whole_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("exp042/r.json", SAMPLE | {"status": "FAILED", "exit": {"traceback": "Trace\n  line\x1b[31m"}})
    logs = place.home.run_logs("exp042", "r")
    logs.mkdir(parents=True)
    events: list[dict[str, Any]] = [
        {"time": "2", "level": "ERROR", "event": "CheckpointError", "message": "disk \x9bfull", "seq": "a-2"},
        {"time": "1", "level": "INFO", "event": "EpochEnd", "seq": "a-1"},
    ]
    (logs / "host.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + "torn")
    text = printed(capsys, "show", "r")
    assert text.startswith("exp042/r  FAILED\n\nlast errors\n  2 [ERROR] CheckpointError: disk \\x9bfull")
    assert (
        text.index("CheckpointError")
        < text.index("line\\x1b[31m")
        < text.index("learning_rate")
        < text.index("host.jsonl")
    )
    whole = json.loads(printed(capsys, "show", "exp042/r", "--json"))
    assert (whole["result"]["status"], len(whole["errors"]), len(whole["files"])) == ("FAILED", 1, 1)


def test_compare_shows_what_differs(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(place)
    found = json.loads(printed(capsys, "compare", "0.1-1", "0.2-1", "--json"))
    assert found == {
        "config.lr": {"0.1-1": 0.1, "0.2-1": 0.2},
        "metrics.acc": {"0.1-1": 0.1, "0.2-1": 0.2},
    }
    assert "config.same" in printed(capsys, "compare", "0.1-1", "0.2-1", "--all")
    assert "two to 10 runs stand side by side" in complaint(capsys, "compare", "0.1-1", code=2)


def test_rejects_are_listed_with_their_reason(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append("e/r.jsonl", "\x1b]0;oops")
    (found,) = json.loads(printed(capsys, "rejects", "--json"))
    assert (Path(found["path"]).name, found["line"], found["fault"]) == ("r.jsonl", 1, "invalid")
    assert "e/r.jsonl:1: invalid: not JSON: Expecting value at column 1\n" in printed(capsys, "rejects")


def test_ingest_takes_files_from_anywhere_and_says_what_it_refused(
    place: Place, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "else" / "exp9").mkdir(parents=True)
    (root / "else" / "exp9" / "r.json").write_text("{}")
    assert "1 files looked at, 1 changes" in printed(capsys, "ingest", str(root / "else"))
    assert "1 files looked at, 0 changes" in printed(capsys, "ingest", str(root / "else"))
    (root / "else" / "half.json").write_text("{")
    assert "half.json: incomplete" in complaint(capsys, "ingest", str(root / "else" / "half.json"), code=1)
    told = json.loads(printed(capsys, "ingest", str(root / "else"), "--json", code=1))
    assert (told["files"], told["refused"][0]["fault"]) == (2, "incomplete")
    assert [run["experiment_id"] for run in json.loads(printed(capsys, "runs", "--json"))] == ["exp9"]
    assert "does not exist" in complaint(capsys, "ingest", str(root / "nope"), code=2)


def test_ingest_of_a_file_in_the_home_makes_the_row_that_the_collector_makes(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.write("exp/r.json", {})
    printed(capsys, "ingest", str(path))
    assert place.collect() == 0
    assert place.documents()[0]["experiment_id"] == "exp"


def test_ingest_names_what_came_without_metrics(place: Place, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "old" / "e").mkdir(parents=True)
    (root / "old" / "e" / "package.json").write_text('{"name": "x", "dependencies": {"y": "1"}}')
    (root / "old" / "e" / "run.json").write_text('{"acc": 0.5}')
    text = printed(capsys, "ingest", str(root / "old"))
    assert "package.json have no metrics: " in text
    assert "\nrows by experiment: e (2)\n" in text
    assert "without metrics" not in printed(capsys, "ingest", str(root / "old"))  # nothing new


def test_a_value_that_no_result_has_is_told_with_the_near_one(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("e/r1.json", SAMPLE)
    assert "did you mean COMPLETED?" in complaint(capsys, "results", "status = COMPLETE", code=0)
    assert "did you mean KILLED?" in complaint(capsys, "results", "status != Kiled", "--json", code=0)
    assert "did you mean ResNet34?" in complaint(capsys, "runs", "model in (resnet34, VGG)", code=0)
    assert "did you mean ResNet34?" in complaint(capsys, "results", "model = ResNet4", "--group-by", "seed", code=0)
    for fine in ("status != FAILED", "model = ResNet34 or model = resnet"):
        assert complaint(capsys, "results", fine, code=0) == ""


def test_sql_says_that_json_keeps_no_two_columns_of_one_name(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    query = "select 1 as a, 2 as a"
    assert "named 'a', of which JSON keeps one; name them with AS" in complaint(capsys, "sql", query, "--json", code=2)
    assert printed(capsys, "sql", query, "--format", "csv") == "a,a\n1,2\n"


def test_sql_reads_the_documented_views(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(place)
    query = (
        "SELECT r.run_id, m.value AS acc, c.value AS lr FROM results r JOIN metrics m USING (run_id) "
        "JOIN config c USING (run_id) WHERE m.key = 'acc' AND c.key = 'lr' ORDER BY 1 LIMIT 1"
    )
    assert json.loads(printed(capsys, "sql", query, "--json")) == [{"run_id": "0.1-1", "acc": 0.1, "lr": 0.1}]
    assert printed(capsys, "sql", "SELECT 1 AS one", "--format", "csv") == "one\n1\n"


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM result",
        "ATTACH 'DIR/x.db' AS x",
        "VACUUM INTO 'DIR/x.db'",
        "PRAGMA query_only = OFF",
        "CREATE TEMP TABLE t (x)",
        "SELECT 1; DELETE FROM result",
        "SELECT nope",
        "",
    ],
)
def test_sql_writes_nothing_anywhere(place: Place, root: Path, query: str, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(place)
    place.collect()
    main(["sql", query.replace("DIR", str(root))])
    assert len(place.ids()) == 4
    assert not (root / "x.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("results", "acc >"), 2, "expected a value at column 6"),
        (("results", "--sort", "ac"), 2, "did you mean acc"),
        (("results", "--limit", "-1"), 2, "'-1' is no whole number"),
        (("results", "--group-by", "lr", "--sort", "seed"), 2, "neither a key of the groups"),
        (("show", "nope"), 1, "no run 'nope'; 'logferry runs' lists them"),
        (("show", "0.1"), 1, "any of 2"),
        (("sql", "SELEC 1"), 2, "syntax error"),
    ],
)
def test_errors_name_the_thing_and_the_way_out(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    sweep(place)
    assert message in complaint(capsys, *arguments, code=code)


def test_a_store_on_a_network_file_system_is_refused(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_collector.store.sqlite.filesystem_type", lambda _: "nfs4")
    assert "is on a network file system (nfs4)" in complaint(capsys, "results", code=2)


def test_a_home_on_a_network_file_system_has_its_store_in_the_node_directory(
    place: Place, node_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_collector.store.filesystem_type", lambda _: "lustre")
    place.write("e/r.json", SAMPLE)
    assert len(json.loads(printed(capsys, "results", "--json"))) == 1
    assert (node_dir / "results.db").exists()


@pytest.mark.parametrize("url", ["postgresql://x?nonsense=1", "mysql://x", "sqlite:"])
def test_a_store_that_cannot_be_is_an_error(
    place: Place, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGFERRY_STORE", url)
    assert "LOGFERRY_STORE" in complaint(capsys, "results", code=2)
