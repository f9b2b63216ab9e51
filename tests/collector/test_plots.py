"""Pictures: what is drawn, in files and on a terminal, and what is said of the rest."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from logferry.cli import main
from logferry_collector.axes import Axis, height, marks
from logferry_collector.sketch import Canvas
from support.collecting import Place


@pytest.fixture
def place(home: Path, node_dir: Path, place: Place) -> Place:
    for lr in (0.001, 0.01, 0.1):
        for seed in range(3):
            for optimizer in ("sgd", "$x^{"):
                config = {"lr": lr, "seed": seed, "opt": optimizer}
                place.append("e/r.jsonl", {"config": config, "metrics": {"acc": lr + seed}})
    place.append("e/r.jsonl", {"config": {"lr": 0.1}, "metrics": {"acc": "NaN"}}, {"config": {"lr": 0.1}})
    return place


def drawn(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(["plot", *arguments]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize(
    "arguments",
    [["lr", "acc"], ["lr", "acc", "--by", "opt", "--lines"], ["lr", "opt", "seed", "acc"]],
    ids=["points", "lines", "parallel"],
)
def test_a_picture_is_the_same_each_time(
    place: Place, root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for name in ("one.svg", "two.svg", "three.png"):
        drawn(capsys, *arguments, "--where", "acc is not nan", "--output", str(root / name))
    svg = (root / "one.svg").read_text()
    assert svg == (root / "two.svg").read_text()
    assert all(f">{text}<" in svg or f"> {text}<" in svg for text in ("lr", "acc"))
    assert ("$x^{" in svg) == ("opt" in " ".join(arguments))
    assert (root / "three.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_counted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = drawn(capsys, "lr", "acc")
    assert "acc by lr (log)" in out
    assert "2 of 20 results lack a value, or have NaN, and are not drawn" in err
    assert main(["plot", "lr", "acc", "--where", "acc is nan"]) == 1
    assert "nothing to draw" in capsys.readouterr().err


def test_lines_are_the_means_over_seeds(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = drawn(capsys, "lr", "acc", "--lines", "--where", "acc is not nan and opt = sgd")
    means = [statistics.mean(lr + seed for seed in range(3)) for lr in (0.001, 0.1)]
    assert [line.split()[0] for line in out.splitlines()[:16] if line.split()[0] != "┤"] == [
        f"{means[1]:.4g}",
        f"{sum(means) / 2:.4g}",
        f"{means[0]:.4g}",
    ]


def test_pictures_on_a_terminal_are_of_one_width(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["lr", "acc", "--by", "opt"], ["lr", "opt", "seed", "acc"]):
        lines = drawn(capsys, *arguments)[0].splitlines()
        assert max(map(len, lines)) <= 80


def test_a_wide_axis_is_logarithmic_and_text_has_places() -> None:
    wide, narrow = Axis.of("x", [0.001, 1]), Axis.of("x", [2, 4])
    assert (height(wide, 0.001), height(wide, 1), height(narrow, 3)) == (0, 1, 0.5)
    assert height(wide, 0.0316227766) == pytest.approx(0.5)
    assert marks(Axis.of("x", ["b", "a", 1])) == [(0.0, "1"), (0.5, "a"), (1.0, "b")]
    assert height(Axis.of("x", [5, 5]), 5) == 0.5
    assert height(Axis.of("x", ["only"]), "only") == 0


def test_dots_have_their_places_in_braille() -> None:
    canvas = Canvas(2, 1)
    canvas.dot(0, 0, "red")
    canvas.dot(1, 1, "red")
    assert [[sign for sign, _ in line] for line in canvas.lines()] == [["⡀", "⠈"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lr"], "at least two keys"),
        (["lr", "acc", "opt", "--lines"], "--lines takes two keys"),
        (["lr", "acc", "--output", "x.pdf"], "its name ends in one of .png, .svg"),
        (["lr", "accc"], "did you mean"),
    ],
)
def test_what_cannot_be_meant_is_said(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["plot", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_lines_leave_out_what_points_leave_out(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.append("e/r.jsonl", *({"metrics": {"x": x, "acc": 1}} for x in (1, 2, "Infinity", "NaN")))
    for lines in ([], ["--lines"]):
        assert main(["plot", "x", "acc", *lines]) == 0
        out, err = capsys.readouterr()
        assert "Infinity" not in out
        assert "lack a value, or have NaN, and are not drawn" in err
