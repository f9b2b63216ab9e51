"""`logferry logs`: what it prints, in which order, and how it follows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import FINE, UsageError
from logferry.layout import Home
from logferry_agent.compression import compress
from logferry_agent.follow import HostTail, RunTail
from logferry_agent.fs import FileSystem
from logferry_agent.logs import logs
from logferry_agent.logset import RunLogs, find, host_blocks
from logferry_agent.rotation import LogName
from logferry_agent.rows import rows_of
from logferry_agent.selection import moment


def line(
    number: int, second: int = 0, producer: str = "aaaaaaaa", name: str = "Step", level: str = "INFO", **more: Any
) -> str:
    known = {"time": f"2025-07-30T13:00:{second:02d}.000000Z", "level": level, "event": name, **more}
    return json.dumps({**known, "seq": f"{producer}-{number}"}, separators=(",", ":")) + "\n"


def write(home: Path, *lines: str, name: str = "node7.jsonl", run: str = "run1") -> Path:
    path = home / "logs" / "exp" / run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(lines))
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert logs(list(arguments)) == FINE
    return capsys.readouterr().out.splitlines()


def polled(tail: RunTail) -> list[bytes]:
    """Return the new lines of all hosts."""
    return [line for blocks in tail.poll() for block in blocks for line in block.split(b"\n")[:-1]]


def test_text_is_the_default_and_json_the_lines_themselves(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, line(1, 5, n=1), line(1, 6, "agent", "logferry.seal"))
    assert shown(capsys, "run1") == ["2025-07-30 13:00:05 [INFO] Step: n=1"]
    assert shown(capsys, "run1", "--json") == [line(1, 5, n=1).strip()]
    assert len(shown(capsys, "run1", "--json", "--all")) == 2


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--level", "warning"], [2, 3]),
        (["--event", "Ba*"], [3]),
        (["--grep", r"n=[12]\b"], [1, 2]),
        (["--since", "2025-07-30T13:00:02"], [2, 3]),
        (["--until", "2025-07-30T13:00:02"], [1]),
        (["-n", "1"], [3]),
        (["--level", "warning", "-n", "1", "--event", "Step"], [2]),
    ],
)
def test_filters(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], numbers: list[int]) -> None:
    write(home, line(1, 1, n=1), line(2, 2, level="WARNING", n=2), line(3, 3, name="Bad", level="ERROR", n=3))
    assert [json.loads(one)["n"] for one in shown(capsys, "run1", "--json", *arguments)] == numbers


def test_since_takes_durations_and_times() -> None:
    now = datetime(2025, 7, 30, 13, tzinfo=UTC)
    assert moment("90s", now, "--since") == "2025-07-30T12:58:30.000000Z"
    assert moment("2025-07-30T14:00:00+02:00", now, "--since") == "2025-07-30T12:00:00.000000Z"


def test_several_hosts_are_merged_by_time_with_each_ones_order_kept(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, line(1, 1), line(2, 5), line(3, 2), line(4, 9))
    write(home, line(1, 3, "bbbbbbbb"), line(2, 6, "bbbbbbbb"), name="node8.jsonl")
    seqs = [json.loads(one)["seq"] for one in shown(capsys, "run1", "--json")]
    assert seqs == ["aaaaaaaa-1", "bbbbbbbb-1", "aaaaaaaa-2", "aaaaaaaa-3", "bbbbbbbb-2", "aaaaaaaa-4"]


def test_rotated_and_compressed_files_come_first_and_in_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        compress(FileSystem(), write(home, line(number), name=f"node7.20250730T130000Z-{number}.jsonl"), "zstd")
    write(home, line(3))
    assert [json.loads(one)["seq"][-1] for one in shown(capsys, "run1", "--json")] == ["1", "2", "3"]


def test_a_run_is_found_by_part_of_its_id_by_experiment_and_as_the_latest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(write(home, line(1, n=1), run="20250730-one"), (1, 1))
    write(home, line(1, n=2), run="20250730-two")
    assert "n=1" in shown(capsys, "one")[0]
    assert "n=2" in shown(capsys)[0]
    assert [one.split()[0] for one in shown(capsys, "exp")] == ["20250730-one", "20250730-two"]


def test_the_latest_run_is_found_though_its_file_is_compressed_once_it_is_listed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(write(home, line(1), run="old"), (1, 1))
    path, files = write(home, line(1), run="new", name="node7.20250730T130000Z-1.jsonl"), RunLogs.files

    def compressed_meanwhile(run: RunLogs) -> Any:
        found = files(run)
        if run.run == "new" and path.exists():
            compress(FileSystem(), path, "zstd")
        return found

    monkeypatch.setattr(RunLogs, "files", compressed_meanwhile)
    assert [run.run for run in find(Home(home), None)] == ["new"]


def test_an_unknown_run_is_named(home: Path) -> None:
    with pytest.raises(UsageError, match="nosuch"):
        logs(["nosuch"])


def test_a_wrong_pattern_or_level_is_a_usage_error(home: Path) -> None:
    write(home, line(1))
    for option, value in (("--grep", "("), ("--level", "loud"), ("--since", "yesterday"), ("--since", "9999999999d")):
        with pytest.raises(UsageError, match=re.escape(f"'{value}'")):
            logs(["run1", option, value])


def test_following_reads_on_through_rotations_and_gives_whole_lines_only(home: Path) -> None:
    path = write(home, line(1), line(2)[:10])
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    seen = polled(tail)
    for number in range(2, 7):
        write(home, (line(number)[10:] if number == 2 else line(number)))
        if number % 2 == 0:
            path.rename(rotated := path.with_name(f"node7.20250730T130000Z-{number // 2}.jsonl"))
            if number == 4:
                compress(FileSystem(), rotated, "gzip")
        seen += polled(tail)
    seen += polled(tail)
    tail.close()
    assert [json.loads(one)["seq"] for one in seen] == [f"aaaaaaaa-{number}" for number in range(1, 7)]


def test_several_rotations_between_two_polls_lose_nothing(home: Path) -> None:
    path = write(home, line(1))
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    seen = polled(tail)
    for number in range(2, 6):
        write(home, line(number))
        path.rename(path.with_name(f"node7.20250730T130000Z-{number}.jsonl"))
    write(home, line(6))
    seen += [one for _ in range(3) for one in polled(tail)]
    tail.close()
    assert [json.loads(one)["seq"][-1] for one in seen] == list("123456")


def test_following_repeats_no_line_of_a_file_that_is_rotated_once_all_are_listed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, is_current = write(home, line(1)), HostTail._is_current
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    seen = polled(tail)

    def rotated_meanwhile(host: HostTail) -> bool:
        if len(seen) == 1 and path.exists():
            write(home, line(2))
            path.rename(path.with_name("node7.20250730T130000Z-1.jsonl"))
        return is_current(host)

    monkeypatch.setattr(HostTail, "_is_current", rotated_meanwhile)
    seen += polled(tail)
    write(home, line(3))
    seen += [one for _ in range(3) for one in polled(tail)]
    tail.close()
    assert [json.loads(one)["seq"][-1] for one in seen] == list("123")


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("skips", [False, True])
def test_following_keeps_the_order_where_a_file_is_rotated_between_its_listing_and_its_opening(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, skips: bool, again: bool
) -> None:
    path, really, opened = write(home, line(1)), HostTail._open, []
    tail = RunTail(RunLogs("exp", "run1", path.parent))

    def rotate(number: int) -> None:
        path.rename(path.with_name(f"node7.20250730T130000Z-{number}.jsonl"))
        write(home, line(number + 1))

    def between(host: HostTail, log: LogName) -> None:
        opened.append(log)
        if len(opened) == 1:
            rotate(1)
        really(host, log)
        if len(opened) == 1 and again:
            rotate(2)

    monkeypatch.setattr(HostTail, "_open", between)
    seen = [block for files in tail.skip_to_end() for _, content in files for block in content][::-1] if skips else []
    seen += [one for _ in range(4) for one in polled(tail)]
    tail.close()
    assert [json.loads(one)["seq"][-1] for one in seen] == list("123" if again else "12")


@pytest.mark.parametrize("skips", [False, True])
def test_following_goes_on_where_a_file_was_rotated_before_it_was_opened_and_none_has_its_name_yet(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, skips: bool
) -> None:
    path, really = write(home, line(1)), HostTail._open
    tail = RunTail(RunLogs("exp", "run1", path.parent))

    def renamed(host: HostTail, log: LogName) -> None:
        monkeypatch.setattr(HostTail, "_open", really)
        path.rename(path.with_name("node7.20250730T130000Z-1.jsonl"))
        really(host, log)

    monkeypatch.setattr(HostTail, "_open", renamed)
    seen = [block for files in tail.skip_to_end() for _, content in files for block in content] if skips else []
    seen += polled(tail) + polled(tail)
    write(home, line(2))
    seen += polled(tail) + polled(tail)
    tail.close()
    assert [json.loads(one)["seq"][-1] for one in seen] == ["1", "2"]


def test_the_latest_run_is_found_where_a_listing_goes_on_naming_what_is_gone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really = write(home, line(1)), RunLogs.files
    path.with_name("gone.jsonl").touch()
    stale = really(RunLogs("exp", "run1", path.parent))
    path.with_name("gone.jsonl").unlink()
    monkeypatch.setattr(RunLogs, "files", lambda _: stale)
    assert [run.run for run in find(Home(home), None)] == ["run1"]


def test_following_ends_a_poll_where_a_name_and_a_descriptor_never_have_the_same_inode(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(home, line(1))
    monkeypatch.setattr(HostTail, "_is_open", lambda *_: False)
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    assert [json.loads(one)["seq"][-1] for one in polled(tail)] == ["1"]
    tail.close()


def test_following_says_once_what_cannot_be_opened_and_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = home / "logs" / "exp" / "run1"
    directory.mkdir(parents=True)
    (directory / "evil.jsonl").symlink_to(home)
    (directory / "node7.jsonl").write_text("first\n")
    tail = RunTail(RunLogs("exp", "run1", directory))
    assert polled(tail) == [b"first"]
    assert polled(tail) == []
    assert capsys.readouterr().err.count("evil.jsonl") == 1
    tail.close()


@pytest.mark.parametrize("rotated", [False, True])
def test_following_from_the_last_lines_on_shows_no_line_twice_and_leaves_none_out(home: Path, rotated: bool) -> None:
    """Whatever happens to the file between both."""
    write(home, line(1), name="node7.20250730T130000Z-1.jsonl")
    path = write(home, line(2), line(3), line(4)[:30])
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    (files,) = tail.skip_to_end()
    write(home, line(4)[30:], line(5))
    if rotated:
        path.rename(path.with_name("node7.20250730T130000Z-2.jsonl"))
        write(home, line(6))
    before = [block for _, content in files for block in content]
    assert b"".join(reversed(before)) == "".join(line(number) for number in (1, 2, 3)).encode()
    seen = [json.loads(one)["seq"][-1] for one in polled(tail) + polled(tail)]
    tail.close()
    assert seen == list("456" if rotated else "45")


def test_a_line_that_is_longer_than_a_block_and_not_whole_is_followed_from_its_beginning(home: Path) -> None:
    long = line(2, note="x" * 200_000)
    path = write(home, line(1), long[:150_000])
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    tail.skip_to_end()
    write(home, long[150_000:])
    assert polled(tail) == [long[:-1].encode()]
    tail.close()


@pytest.fixture
def following(home: Path) -> Iterator[subprocess.Popen[str]]:
    code = "import sys; from logferry.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "logs", "-f", "exp", "--json"]
    write(home, line(1))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def test_following_shows_new_lines_and_new_runs_at_once(home: Path, following: subprocess.Popen[str]) -> None:
    guard = threading.Timer(20, following.kill)
    guard.start()
    assert following.stdout
    assert json.loads(following.stdout.readline())["seq"] == "aaaaaaaa-1"
    waits = []
    for number, run in ((2, "run1"), (3, "run1"), (4, "run2")):
        start = time.monotonic()
        write(home, line(number), run=run)
        assert json.loads(following.stdout.readline())["seq"] == f"aaaaaaaa-{number}"
        waits.append(time.monotonic() - start)
    guard.cancel()
    assert min(waits) < 0.2


@pytest.mark.parametrize("packing", [None, "zstd"])
def test_a_file_that_is_rotated_while_earlier_ones_are_read_is_read_once_and_in_its_place(
    home: Path, packing: str | None
) -> None:
    write(home, *[line(number) for number in range(1, 3)], name="node7.20250730T130000Z-1.jsonl")
    current = write(home, line(3))
    run = RunLogs("exp", "run1", current.parent)
    blocks = host_blocks(run, run.files()["node7"], lambda *_: pytest.fail("unreadable"))
    seen = [next(blocks)]
    current.rename(rotated := current.with_name("node7.20250730T130000Z-2.jsonl"))
    if packing:
        compress(FileSystem(), rotated, packing)
    write(home, line(4))
    seen += blocks
    assert b"".join(seen) == "".join(line(number) for number in range(1, 5)).encode()


@pytest.mark.parametrize("again", [False, True])
def test_a_current_file_that_is_gone_when_it_is_opened_is_read_under_its_new_name(home: Path, again: bool) -> None:
    current = write(home, line(1))
    run = RunLogs("exp", "run1", current.parent)
    listed = run.files()["node7"]
    current.rename(current.with_name("node7.20250730T130000Z-1.jsonl"))
    if again:
        write(home, line(2))
    faults: list[Path] = []
    found = b"".join(host_blocks(run, listed, lambda path, _: faults.append(path)))
    assert (found.count(b"\n"), faults) == (1 + again, [])


def test_more_runs_than_descriptors_are_merged(home: Path) -> None:
    for number in range(80):
        write(home, line(1, n=number), run=f"run{number}")
    code = "import resource, sys; from logferry.cli import main\n"
    code += (
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE); resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
    )
    code += "sys.exit(main(['logs', 'exp']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (len(ended.stdout.splitlines()), ended.stderr) == (80, "")


def test_a_line_without_end_does_not_fill_the_memory_of_who_follows(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.follow.MAX_LINE_BYTES", 1000)
    path = write(home, line(1), "x" * 2000)
    tail = RunTail(RunLogs("exp", "run1", path.parent))
    seen = polled(tail)
    write(home, line(2)[:-1], "\n", line(3))
    seen += polled(tail)
    tail.close()
    assert [row[0][-4:-2] for row in rows_of(b"\n".join([*seen, b""]))] == ["-1", "-3"]
    assert "longer than" in capsys.readouterr().err
