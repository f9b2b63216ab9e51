"""What `logferry show` finds in a run's running logs, whichever way they lie on disk."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from logferry.cli import main
from logferry_collector.trouble import trouble
from support.collecting import SAMPLE, Place


@pytest.fixture
def logs(home: Path, node_dir: Path, place: Place) -> Path:
    place.write("exp042/r.json", SAMPLE | {"status": "FAILED", "environment": {"git": {"commit": "abc"}, "empty": {}}})
    path = place.home.run_logs("exp042", "r")
    path.mkdir(parents=True)
    return path


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"time": str(number), **event}).encode() + b"\n" for number, event in enumerate(events))


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["show", "r", *arguments]) == 0
    return capsys.readouterr().out


ERROR = {"level": "ERROR", "event": "Broken"}


def test_rotated_and_compressed_files_are_read(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs / "h.20250730T130000Z-1.jsonl.gz").write_bytes(gzip.compress(lines(ERROR | {"time": "1"})))
    (logs / "h.20250730T130000Z-2.jsonl.zst").write_bytes(zstandard.compress(lines(ERROR | {"time": "2"})))
    (logs / "h.jsonl").write_bytes(lines(ERROR | {"time": "3"}, {"level": "INFO", "event": "ERROR is but a word"}))
    whole = json.loads(shown(capsys, "--json"))
    assert [event["time"] for event in whole["errors"]] == ["1", "2", "3"]
    assert len(whole["logs"]) == 3


def test_a_file_that_a_crash_left_compressed_and_not_is_read_once(logs: Path) -> None:
    (logs / "h.20250730T130000Z-1.jsonl").write_bytes(lines(ERROR))
    (logs / "h.20250730T130000Z-1.jsonl.zst").write_bytes(zstandard.compress(lines(ERROR)))
    assert len(trouble(logs).errors) == 1


def test_warnings_do_not_crowd_out_errors(logs: Path) -> None:
    warning = {"level": "WARNING", "event": "Again"}
    (logs / "h.jsonl").write_bytes(lines(ERROR, *[warning] * 500))
    found = trouble(logs)
    assert (len(found.errors), len(found.warnings), found.warnings[-1]["time"]) == (1, 10, "500")


def test_a_traceback_is_indented_lines(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = ERROR | {"message": "disk full", "epoch": 7, "traceback": "Traceback:\n  File x\x1b[31m\nOSError"}
    (logs / "h.jsonl").write_bytes(lines(event))
    assert (
        "\nlast errors\n  0 [ERROR] Broken: disk full, epoch=7\n"
        "    Traceback:\n      File x\\x1b[31m\n    OSError\n" in shown(capsys)
    )


def test_seals_and_attempts_tell_how_the_run_went(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seal = {"level": "INFO", "event": "logferry.seal", "producer": "p", "emitted": 9, "written": 7}
    result = {"level": "INFO", "event": "logferry.result", "host": "h", "started": "noon"}
    events = [result | {"attempt": 1, "status": "RUNNING"}, seal | {"shed": {"DEBUG": 2}, "end": "vanished"}]
    (logs / "h.20250730T130000Z-1.jsonl.zst").write_bytes(zstandard.compress(lines(*events)))
    os.utime(logs / "h.20250730T130000Z-1.jsonl.zst", (1, 1))
    (logs / "h.jsonl").write_bytes(lines(result | {"attempt": 2, "status": "RUNNING"}, result | {"attempt": 2}))
    text = shown(capsys)
    assert "\nproducers that ended\n  p  emitted 9, written 7, shed 2 DEBUG, end: vanished\n" in text
    assert "\nattempts\n  1  status RUNNING, started noon, host h\n  2  started noon, host h\n" in text


def test_a_file_that_cannot_be_read_is_listed_with_its_reason(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs / "bad.20250730T130000Z-1.jsonl.zst").write_bytes(b"no zstd")
    (logs / "cut.20250730T130000Z-1.jsonl.gz").write_bytes(gzip.compress(lines(ERROR) * 999)[:-20])
    (logs / "link.jsonl").symlink_to(logs / "h.jsonl")
    os.mkfifo(logs / "fifo.jsonl")
    (logs / "h.jsonl").write_bytes(lines(ERROR | {"event": "Seen"}) + b'{"level": "ERROR", torn')
    text = shown(capsys)
    assert "[ERROR] Seen" in text
    for name in ("bad.20250730T130000Z-1.jsonl.zst", "cut.20250730T130000Z-1.jsonl.gz", "link.jsonl"):
        assert f"{name}  (not searched for errors: " in text


def test_of_very_large_logs_the_newest_lines_are_read(logs: Path) -> None:
    (logs / "h.20250730T130000Z-1.jsonl").write_bytes(lines(ERROR))
    os.utime(logs / "h.20250730T130000Z-1.jsonl", (1, 1))
    noise = {"level": "INFO", "event": "x" * 1000}
    (logs / "h.jsonl").write_bytes(lines(ERROR | {"event": "First"}, *[noise] * 100, ERROR | {"event": "Last"}))
    found = trouble(logs, max_bytes=10_000)
    assert [event["event"] for event in found.errors] == ["Last"]
    assert sorted(Path(path).name for path in found.unread) == ["h.20250730T130000Z-1.jsonl", "h.jsonl"]


def test_maps_in_a_run_are_dotted_rows(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "\nenvironment\n  git.commit  abc\n" in shown(capsys)
