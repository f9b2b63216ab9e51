"""What tables look like: within the width of a terminal, and with what people compare."""

from __future__ import annotations

import json
import os
import pty
import struct
import sys
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from subprocess import Popen
from termios import TIOCSWINSZ

import pytest

from logferry.cli import main
from logferry_collector.grouptable import with_deviation
from logferry_collector.output import fitted, print_table
from support.collecting import Place


@pytest.fixture
def place(home: Path, node_dir: Path, place: Place) -> Place:
    return place


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.9602, 0.00741, "0.9602 ± 0.0074"),
        (0.97984, 0.004, "0.9798 ± 0.0040"),
        (0.5, 0.00996, "0.500 ± 0.010"),
        (1234.5, 123.4, "1234 ± 123"),
        (0.98, 0.0, "0.98 ± 0"),
        (1e-12, 2e-13, "1e-12 ± 2e-13"),
        (float("nan"), float("nan"), "nan ± nan"),
        (float("inf"), float("nan"), "inf ± nan"),
    ],
)
def test_a_mean_has_the_decimals_of_two_digits_of_its_deviation(mean: float, std: float, text: str) -> None:
    assert with_deviation(mean, std) == text


def test_the_widest_columns_give_first_and_the_last_are_left_out() -> None:
    assert fitted([5, 60, 30], [True, True, True], 99) == [5, 60, 30]
    assert fitted([5, 60, 30], [True, False, False], 61) == [5, 26, 26]
    assert fitted([20, 60, 60, 60], [True, False, False, False], 50) == [20, 13, 13]
    assert fitted([90], [True], 50) == [50]
    assert fitted([], [], 50) == []
    assert len(fitted([10] * 100_000, [False] * 100_000, 100)) == 8


def test_a_plain_cell_is_cut_and_an_id_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["run_id", "notes"], [["r" * 90, "n" * 90]], whole=["run_id"])
    assert capsys.readouterr().out.splitlines()[1] == "r" * 90 + "  " + "n" * 59 + "…"


def on_a_terminal(*commands: list[str]) -> Iterator[list[str]]:
    """Run command lines on a terminal of 100 columns; return the lines of each."""
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    script = (
        "import json, sys; from logferry.cli import main\n"
        "for one in json.loads(sys.argv[1]): assert main(one) == 0; print('\\f')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"TERM": "dumb"}
    process = Popen([sys.executable, "-c", script, json.dumps(commands)], stdout=slave, env=environment)
    os.close(slave)
    text = b""
    try:
        while piece := os.read(master, 65_536):
            text += piece
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert process.wait(30) == 0
    for said in text.decode().split("\f")[: len(commands)]:
        yield said.strip("\r\n").split("\r\n")


def test_every_table_fits_a_terminal(place: Place) -> None:
    for run in ("20250730T130000Z-node17-abcdefgh", "20250730T130001Z-node17-ijklmnop"):
        config = {f"setting-{number}": (run if number < 20 else "x") * 9 for number in range(30)}
        place.append("e/r.jsonl", {"run_id": run, "config": config | {"run": run * 5}, "metrics": {"a": 1.5} | config})
    short = [["results"], ["runs"], ["sql", "SELECT * FROM results"]]
    long = [["compare", "abcdefgh", "ijklmnop"], ["show", "abcdefgh"]]
    tables = list(on_a_terminal(*short, *long))
    assert all(max(map(len, lines)) <= 100 for lines in tables)
    assert all(len(lines) <= 6 for lines in tables[: len(short)])
    assert "20250730T130000Z-node17-abcdefgh" in tables[0][1]
    assert "more columns do not fit here; --columns chooses, --json has all: " in " ".join(tables[0])


def test_compare_takes_maps_apart_and_leaves_out_what_says_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for run, commit in (("a", "c1"), ("b", "c2")):
        environment = {"git": {"commit": commit, "branch": "main"}, "pid": ord(run)}
        place.write(f"e/{run}.json", {"owner": run, "revision": ord(run), "environment": environment})
    place.collect()
    assert json.loads(printed(capsys, "compare", "a", "b", "--json")) == {
        "environment.git.commit": {"a": "c1", "b": "c2"}
    }
    everything = printed(capsys, "compare", "a", "b", "--all")
    assert all(f"\n{key}  " in everything for key in ("owner", "environment.pid", "environment.git.branch"))


def test_compare_shows_long_cells_from_where_they_differ(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("a", "b"):
        place.write(
            f"e/{run}.json", {"notes": "the same " * 30 + run, "exit": {"traceback": f"Trace\n  x\nError {run}"}}
        )
    text = printed(capsys, "compare", "a", "b")
    assert "…me the same a  " in text
    assert "… Error a" in text
    assert max(map(len, text.splitlines())) < 150


def test_compare_of_a_run_with_itself_is_an_error(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("e/abc.json", {})
    assert main(["compare", "abc", "e/abc"]) == 2
    assert "are the same run; 'logferry runs' lists all" in capsys.readouterr().err


def test_groups_of_keys_and_metrics_of_one_name_do_not_collide(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.append("e/r.jsonl", {"config": {"x": 1, "n": 2, "x.mean": 3}, "metrics": {"x": 4, "y": 5}})
    (row,) = json.loads(printed(capsys, "results", "--group-by", "config.x,config.n,config.x.mean", "--json"))
    assert (row["config.x"], row["metrics.x.mean"], row["config.n"], row["n"]) == (1, 4.0, 2, 1)
    (row,) = json.loads(printed(capsys, "results", "--group-by", "config.x.mean", "--columns", "metrics.x", "--json"))
    assert (row["config.x.mean"], row["x.mean"]) == (3, 4.0)
    assert printed(capsys, "results", "--group-by", "experiment_id", "--sort", "n").split()[-4:-2] == ["e", "1"]


def test_a_metric_that_makes_the_groups_is_their_key(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append("e/r.jsonl", {"metrics": {"flag": True, "acc": 0.5}}, {"metrics": {"flag": 1, "acc": 0.7}})
    assert printed(capsys, "results", "--group-by", "flag").split() == "flag n acc true 1 0.5 1 1 0.7".split()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_cannot_be_written_is_named(place: Place, capsys: pytest.CaptureFixture[str], form: str) -> None:
    place.append("e/r.jsonl", {"config": {"x": 1}, "metrics": {"acc": 0.5}})
    assert main(["results", "--output", f"/nowhere/x.{form}"]) == 2
    assert f"/nowhere/x.{form} cannot be written: " in capsys.readouterr().err
    assert main(["plot", "x", "acc", "--output", "/nowhere/x.png"]) == 2
    assert "/nowhere/x.png cannot be written: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--lowest"], ["--agg", "mean"]])
def test_an_option_that_would_do_nothing_is_an_error(place: Place, option: list[str]) -> None:
    assert main(["results", *option]) == 2


def test_a_column_deep_in_a_field_has_its_values(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("e/r.json", {"environment": {"git": {"commit": "abc"}}})
    out = printed(capsys, "results", "--columns", "environment.git.commit,environment", "--format", "csv")
    assert out.splitlines()[1] == 'abc,"{""git"": {""commit"": ""abc""}}"'


def test_an_empty_table_says_where_results_appear(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results"]) == 0
    assert f"no results yet; {place.home.results} is where they appear" in capsys.readouterr().err
    place.write("e/r.json", {"status": "FAILED"})
    assert main(["results", "status = COMPLETED"]) == 0
    assert "no results match 'status = COMPLETED'" in capsys.readouterr().err


def test_a_run_is_compared_with_the_spread_of_others(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(4):
        config = {"lr": 0.1, "opt": "sgd" if seed else "adam", "seed": seed}
        place.append("e/r.jsonl", {"run_id": f"old{seed}", "config": config, "metrics": {"acc": 0.5 + seed / 100}})
    place.append(
        "e/r.jsonl", {"run_id": "new", "config": {"lr": 0.2, "opt": "adam", "seed": 1}, "metrics": {"acc": 0.6}}
    )
    found = json.loads(printed(capsys, "compare", "new", "--against", "experiment_id = e", "--json"))
    assert found["n"] == 4
    assert found["metrics"]["acc"]["mean"] == pytest.approx(0.515)
    assert found["metrics"]["acc"]["deviations"] == pytest.approx(0.085 / 0.0129099, rel=1e-4)
    assert found["differences"]["config.lr"] == {"run": 0.2, "others": [{"value": 0.1, "n": 4}], "more": 0}
    assert found["differences"]["config.opt"]["others"] == [{"value": "sgd", "n": 3}, {"value": "adam", "n": 1}]
    lines = [" ".join(line.split()) for line in printed(capsys, "compare", "new", "--against", "lr = 0.1").splitlines()]
    assert "acc 0.6 0.515 ± 0.013 4 +6.6 std" in lines
    assert "config.opt adam sgd ×3, adam ×1" in lines
    assert main(["compare", "new", "--against", "lr = 0.2"]) == 2
    assert "no other results match" in capsys.readouterr().err


def test_a_figure_beyond_all_floats_and_nan_are_compared_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append("e/r.jsonl", *({"metrics": {"big": big, "bad": 1}} for big in (10**400, 1, 2)))
    place.append("e/r.jsonl", {"metrics": {"big": 3, "bad": "NaN"}})
    out = printed(capsys, "compare", "r-1", "--against", "experiment_id = e")
    assert "+inf std" in out
    assert "nan std" not in out


def test_runs_of_one_status(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for run, status in (("a", "COMPLETED"), ("b", "RUNNING"), ("c", "FAILED")):
        place.append("e/r.jsonl", {"run_id": run, "status": status, "host": "away"})
    os.utime(place.home.results / "e" / "r.jsonl", (1, 1))
    ids = [run["run_id"] for run in json.loads(printed(capsys, "runs", "--status", "lost", "--json"))]
    assert ids == ["b"]
    narrowed = printed(capsys, "runs", "run_id = a or run_id = c", "--status", "FAILED", "--json")
    assert [run["run_id"] for run in json.loads(narrowed)] == ["c"]


def test_a_table_says_where_runs_were_averaged_first(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for lr in (0.1, 0.2):
        place.append("e/r.jsonl", {"config": {"lr": lr, "seed": 1}, "metrics": {"acc": lr}})
    assert main(["results", "--group-by", "experiment_id"]) == 0
    assert "2 runs are 1 repetitions: runs of a group with the same seed count as one" in capsys.readouterr().err
    assert main(["results", "--group-by", "lr"]) == 0
    assert "repetitions" not in capsys.readouterr().err


def test_best_takes_its_keys_and_leaves_the_rest_to_where(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        place.append("e/r.jsonl", {"run_id": str(number), "config": {"d": number % 2}, "metrics": {"acc": number}})
    found = json.loads(printed(capsys, "results", "--json", "--best", "acc", "by", "d", "acc < 3"))
    assert [run["run_id"] for run in found] == ["2", "1"]
    assert main(["results", "--best", "acc", "--sort", "acc"]) == 2
    assert "--best sorts by itself" in capsys.readouterr().err


def test_best_and_its_keys_may_be_one_argument(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append("e/all.jsonl", *({"run_id": f"r{n}", "metrics": {"acc": n}, "config": {"d": n % 2}} for n in range(4)))
    place.collect()
    one = printed(capsys, "results", "--json", "--best", "acc by d")
    assert one == printed(capsys, "results", "--json", "--best", "acc", "by", "d")
    assert [row["run_id"] for row in json.loads(one)] == ["r3", "r2"]


def test_a_pivot_is_cut_by_its_rows_and_its_columns_are_in_order(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"metrics": {"acc": opt + lr / 100 + seed / 1000}, "config": {"opt": f"o{opt}", "lr": lr, "seed": seed}}
        for opt in (1, 2)
        for lr in (2, 10, 9)
        for seed in range(2)
    ]
    place.append("e/all.jsonl", *rows[:-1])
    place.collect()
    asked = ["results", "--group-by", "opt", "--pivot", "lr", "--columns", "acc", "--sort", "acc", "--desc"]
    head, best, other = printed(capsys, *asked).splitlines()
    assert head.split() == ["opt", "2", "9", "10"]
    assert (best.split()[0], other.split()[0]) == ("o2", "o1")
    assert best.count("(n=1)") == 1  # one seed of two is there
    assert [line.split() for line in printed(capsys, *asked, "--limit", "1").splitlines()[1:]] == [best.split()]


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([0.5, 0.7], ""),
        ([0.5, None], "logferry: sorted last: 1 without metrics.acc\n"),
        ([0.5, "NaN"], "logferry: sorted last: 1 with NaN as metrics.acc\n"),
        ([None, "NaN", "NaN"], "logferry: sorted last: 1 without metrics.acc, 2 with NaN as metrics.acc\n"),
    ],
)
def test_a_sorted_table_says_what_stands_last_for_lack_of_a_number(
    place: Place, capsys: pytest.CaptureFixture[str], accuracies: list[object], said: str
) -> None:
    place.append("e/r.jsonl", *({"metrics": {"acc": one, "loss": 1}} for one in accuracies))
    assert main(["results", "--sort", "acc", "--columns", "run_id"]) == 0
    assert capsys.readouterr().err == said
