"""`logferry verify`: complete or what is missing, from the lines alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import FINE, NO, UsageError
from logferry_agent.compression import compress
from logferry_agent.fs import FileSystem
from logferry_agent.logset import RunLogs
from logferry_agent.prune import remove
from logferry_agent.rotation import LogFile, in_order
from logferry_agent.scan import without
from logferry_agent.verify import verify, verify_run, why


def line(number: int, producer: str = "aaaaaaaa", name: str = "Step", /, **fields: Any) -> str:
    known = {"time": "2025-07-30T13:00:00.000000Z", "level": "INFO", "event": name, **fields}
    return json.dumps({**known, "seq": f"{producer}-{number}"}, separators=(",", ":"))


def seal(emitted: int, producer: str = "aaaaaaaa", number: int = 1, **fields: Any) -> str:
    known = {"producer": producer, "emitted": emitted, "shed": {}, "end": "finished", **fields}
    return line(number, "agent", "logferry.seal", **known)


def gap(first: int, lost: int, producer: str = "aaaaaaaa") -> str:
    fields = {"cause": "missing", "producer": producer, "first": first, "lost": lost}
    return line(first + lost - 1, producer, "logferry.gap", **fields)


def write(home: Path, lines: list[str], name: str = "node7.jsonl", run: str = "run1") -> RunLogs:
    path = home / "logs" / "exp" / run
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text("".join(f"{one}\n" for one in lines))
    return RunLogs("exp", run, path)


def judged(home: Path, lines: list[str]) -> tuple[bool, dict[str, Any]]:
    found = verify_run(write(home, lines))
    return found["complete"], found["producers"][0]


def test_every_number_once_in_order_and_a_seal_is_complete(home: Path) -> None:
    complete, producer = judged(home, [line(1), line(2), line(3), seal(3)])
    assert complete
    expected = {"producer": "aaaaaaaa", "emitted": 3, "written": 3, "shed": 0, "end": "finished"}
    assert {key: producer[key] for key in expected} == expected


def test_a_killed_run_whose_spool_was_adopted_whole_is_complete(home: Path) -> None:
    assert judged(home, [line(1), seal(1, end="vanished")])[0]


@pytest.mark.parametrize(
    ("lines", "missing", "repeated"),
    [
        ([line(1), line(3), seal(3)], 1, 0),
        ([line(1), line(2), seal(4)], 2, 0),
        ([line(2), line(3), seal(3)], 1, 0),
        ([line(1), line(2), line(2), seal(2)], 0, 1),
        ([line(2), line(1), seal(2)], 1, 1),
        ([line(1), gap(2, 3), line(5), seal(5)], 3, 0),
        ([seal(3)], 3, 0),
    ],
)
def test_what_is_missing_or_repeated_is_counted(home: Path, lines: list[str], missing: int, repeated: int) -> None:
    complete, producer = judged(home, lines)
    assert not complete
    assert (producer["missing"], producer["repeated"]) == (missing, repeated)


def test_a_run_without_a_seal_is_not_complete_yet(home: Path) -> None:
    complete, producer = judged(home, [line(1)])
    assert (complete, producer["end"], producer["missing"]) == (False, "running", 0)


def test_what_was_shed_makes_a_run_incomplete(home: Path) -> None:
    complete, producer = judged(home, [line(1), seal(1, shed={"DEBUG": 5})])
    assert (complete, producer["shed"]) == (False, 5)


def test_a_last_line_without_its_line_feed_is_not_there_yet(home: Path) -> None:
    run = write(home, [line(1), line(2), seal(2)])
    with (run.path / "node7.jsonl").open("a") as file:
        file.write(line(3)[:-10])
    assert verify_run(run)["complete"]


def test_a_line_that_is_none_is_named(home: Path) -> None:
    found = verify_run(write(home, [line(1), "rubbish", seal(1)]))
    assert (found["complete"], found["faults"]) == (False, ["a line without seq: rubbish"])


def test_a_users_text_that_looks_like_a_system_event_counts_as_a_line(home: Path) -> None:
    text = line(2, note="x").replace('"x"', '{"event":"logferry.seal"}')
    assert judged(home, [line(1), text, line(3), seal(3)])[0]


def test_a_run_of_several_hosts_is_judged_whole(home: Path) -> None:
    write(home, [line(1, "bbbbbbbb"), seal(1, "bbbbbbbb")], "node8.jsonl")
    found = verify_run(write(home, [line(1), line(2), seal(2)]))
    assert found["complete"]
    assert [one["producer"] for one in found["producers"]] == ["aaaaaaaa", "bbbbbbbb"]


def test_the_verb_prints_the_object_of_one_run_or_all_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, [line(1), seal(1)])
    write(home, [line(1), seal(2)], run="run2")
    assert verify(["run1", "--json"]) == FINE
    assert json.loads(capsys.readouterr().out)["complete"] is True
    assert verify(["--json"]) == NO
    found = json.loads(capsys.readouterr().out)
    assert (found["complete"], [one["complete"] for one in found["runs"]]) == (False, [True, False])
    assert [(one["experiment_id"], one["run_id"], one["emitted"]) for one in found["producers"]] == [
        ("exp", "run1", 1),
        ("exp", "run2", 2),
    ]
    assert verify([]) == NO
    complete, incomplete, reason = capsys.readouterr().out.splitlines()
    assert complete == "complete   exp/run1  emitted 1, written 1, 1 producer"
    assert incomplete == "INCOMPLETE exp/run2  emitted 2, written 1, 1 producer"
    assert "1 missing" in reason


def test_a_producer_whose_last_events_went_with_its_memory_is_not_called_complete(home: Path) -> None:
    complete, producer = judged(home, [line(1), seal(1, end="lost")])
    assert (complete, producer["missing"]) == (False, 0)
    assert "may be missing" in why(producer)


def test_a_gap_that_a_producer_forged_for_another_changes_nothing(home: Path) -> None:
    forged = gap(1, 5).replace('"seq":"aaaaaaaa-5"', '"seq":"bbbbbbbb-1"')
    found = verify_run(write(home, [line(1), forged, line(2), seal(2), seal(1, "bbbbbbbb")]))
    assert found["complete"], found


def test_an_unknown_run_is_named(home: Path) -> None:
    with pytest.raises(UsageError, match=r"nosuch.*logferry runs"):
        verify(["nosuch"])


@pytest.mark.parametrize("name", ["node7.20250730T130000Z-1.jsonl.gz", "node7.20250730T130000Z-1.jsonl.zst"])
def test_a_damaged_compressed_file_is_a_fault_and_the_others_are_read(home: Path, name: str) -> None:
    plain = write(home, [line(1)], "node7.20250730T130000Z-1.jsonl").path / "node7.20250730T130000Z-1.jsonl"
    packed = compress(FileSystem(), plain, "gzip" if name.endswith(".gz") else "zstd")
    data = packed.read_bytes()
    packed.write_bytes(data[:20] + b"\xff\xff\xff" + data[23:-3])
    found = verify_run(write(home, [line(2), seal(2)]))
    assert not found["complete"]
    assert f"{packed} cannot be read" in found["faults"][0]


@pytest.mark.parametrize(
    "forged",
    [
        seal(1).replace('"emitted":1', '"emitted":"1"'),
        seal(1).replace('"shed":{}', '"shed":{"DEBUG":"x"}'),
        gap(2, 1).replace('"lost":1', '"lost":[1]'),
        '["event","logferry.x","event":"logferry.seal","seq":"aaaaaaaa-2"}',
        '{"event":"logferry.seal","nested":' + "[" * 2000 + "]" * 2000 + ',"seq":"agent-1"}',
    ],
)
def test_a_line_of_the_systems_that_somebody_changed_raises_nothing(home: Path, forged: str) -> None:
    assert not verify_run(write(home, [line(1), forged]))["complete"]


def test_a_flood_of_gaps_is_judged_in_a_moment_and_told_in_one_line(home: Path) -> None:
    lines = [line(1), *(gap(number, 1) for number in range(2, 30_000)), seal(29_999)]
    _, producer = judged(home, lines)
    assert (producer["missing"], producer["gaps"]) == (29_998, ["missing: 29998 from 2"])


def test_ranges_are_cut_out_of_ranges_in_time_that_grows_with_their_number() -> None:
    assert without([(1, 9), (11, 11)], [(0, 2), (4, 4), (6, 10)]) == [(3, 3), (5, 5), (11, 11)]
    many = [(number, number + 1) for number in range(0, 400_000, 4)]
    assert without(many, [(first, first) for first, _ in many])[-1] == (399_997, 399_997)


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_a_file_without_line_feeds_is_refused_before_it_fills_the_memory(home: Path, kind: str) -> None:
    bomb = write(home, [line(1)], "node7.20250730T130000Z-1.jsonl").path / "node7.20250730T130000Z-1.jsonl"
    with bomb.open("ab") as file:
        file.truncate(1 << 28)
    packed = compress(FileSystem(), bomb, kind)
    tracemalloc.start()
    found = verify_run(write(home, [line(2), seal(2)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["faults"] == [f"{packed} cannot be read: [Errno 90] a line is longer than 16 MiB: '{packed}'"]
    assert peak < 128 << 20


def test_notes_of_removed_files_that_cannot_be_read_are_a_fault(home: Path) -> None:
    run = write(home, [line(1), seal(1)])
    (run.path / "node7.pruned").symlink_to(home)
    found = verify_run(run)
    assert found["complete"]
    (fault,) = found["faults"]
    assert str(run.path) in fault


def test_many_results_in_a_removed_file_do_not_make_the_note_of_it_too_long_to_be_read(home: Path) -> None:
    results = [line(number, "aaaaaaaa", "logferry.result", notes="x" * (1 << 20)) for number in range(1, 19)]
    run = write(home, results, "node7.20250730T130000Z-1.jsonl")
    write(home, [line(19), seal(19)])
    (path,) = run.path.glob("*-1.jsonl")
    (name,) = in_order([path.name])
    remove(FileSystem(), LogFile(path, 0, 0, False, name), 0)
    found = verify_run(run)
    assert (found["complete"], found["producers"][0]["pruned"]) == (True, 18)


def test_the_sum_comes_behind_the_runs_where_all_goes_to_one_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    write(home, [line(1), seal(1)])
    command = [sys.executable, "-m", "logferry", "verify", "--home", str(home)]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, text=True).stdout
    assert [one.split()[0] for one in said.splitlines()] == ["complete", "1"]
