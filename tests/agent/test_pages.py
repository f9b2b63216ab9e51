"""What is shown of a block is what its lines are one by one; streams are merged; last lines come from the end."""

from __future__ import annotations

import argparse
import heapq
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logferry.events import level_number
from logferry_agent.compression import compress
from logferry_agent.content import MAX_LINE_BYTES, backwards, blocks
from logferry_agent.fs import FileSystem
from logferry_agent.lines import _line
from logferry_agent.logset import RunLogs
from logferry_agent.pages import Page, View, last_lines, merged, read_runs
from logferry_agent.pages import backwards as from_the_end
from logferry_agent.selection import Filter
from logferry_agent.shapes import Shapes
from logferry_agent.text import text_line

NOW = datetime(2025, 7, 30, 13, tzinfo=UTC)
TIME_NS = 1_753_880_400_000_000_000
RUN = RunLogs("exp", "run1", Path())
TEXTS = st.text(st.sampled_from('abE1.,:="[ \\\u00e9\u2028\x1b\x01'), max_size=5)
VALUES = TEXTS | st.integers(-99, 99) | st.floats() | st.booleans() | st.none() | st.lists(st.integers(), max_size=1)
LINES = st.builds(
    lambda second, level, name, message, fields: _line(
        TIME_NS + second * 10**9, level, name, message, fields, "k3f9x2mq-1"
    )[:-1],
    st.integers(0, 3),
    st.sampled_from(["DEBUG", "INFO", "ERROR"]),
    st.sampled_from(["E", "Epoch", "logferry.seal"]) | TEXTS,
    st.none() | TEXTS,
    st.dictionaries(TEXTS, VALUES, max_size=3),
)
BROKEN = st.sampled_from(
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"time":"2025"}',
        b"x" * 30,
        b'{"time":"2025","level":"INFO","event":"E","x":"\xff"}',
    ]
)
OTHER = st.sampled_from(
    [
        b'{"event":"\\u006cogferry.x","level":"INFO","time":"2025-07-30T13:00:01.000000Z"}',
        b'{"time":"2025-07-30T13:00:02","level":"INFO","event":"E"}\r',
        b'{"time":"20\\u00325","level":"INFO","event":"E","seq":"a-1"}',
    ]
)
OPTIONS = st.fixed_dictionaries(
    {
        "level": st.sampled_from([None, "info", "error"]),
        "event": st.sampled_from([None, "E*", "*.seal"]),
        "grep": st.sampled_from([None, "a", "1", "b=", r"\[INFO\]", "1$", '"']),
        "since": st.sampled_from([None, "2025-07-30T13:00:01.5"]),
        "until": st.sampled_from([None, "2025-07-30T13:00:02"]),
        "all": st.booleans(),
    }
)


def view(*, as_json: bool = True, frame: tuple[str, str] = ("", ""), **options: Any) -> View:
    known = {"level": None, "event": None, "grep": None, "since": None, "until": None, "all": False, **options}
    return View(Filter(argparse.Namespace(**known), NOW), lambda _: frame, as_json=as_json)


def one_by_one(lines: list[bytes], options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each line that is wanted, with its text form: what `View` does with whole blocks."""
    for raw in lines:
        try:
            found = orjson.loads(raw)
            time, level, event = found["time"], found["level"], found["event"]
        except (ValueError, TypeError, KeyError):
            continue
        text = text_line(found)
        if (
            level_number(level) >= level_number(options["level"] or "debug")
            and re.match({None: "", "E*": "E", "*.seal": r"(?s:.*)\.seal\Z"}[options["event"]], event)
            and (options["all"] or not event.startswith("logferry."))
            and time >= (options["since"] or "")
            and time < (f"{options['until']}.000000Z" if options["until"] else "9")
            and re.search(options["grep"] or "", text, re.MULTILINE)
        ):
            yield raw.decode(), text


@given(st.lists(LINES | BROKEN | OTHER, max_size=6), OPTIONS)
@example([_line(TIME_NS, "INFO", "E", "a=b", {}, "a-1")[:-1], _line(TIME_NS, "INFO", "E", None, {}, "a-2")[:-1]], {})
@example([_line(TIME_NS, "INFO", "E", None, {"a": n}, f"a-{n}")[:-1] for n in (1, 21)], {"grep": "1"})
@example([_line(TIME_NS, "INFO", "E", None, {"a": n}, f"a-{n}")[:-1] for n in (1, 21)], {"grep": "21", "event": "E*"})
@example([_line(TIME_NS + 10**9, "INFO", "E", None, {}, "a-1")[:-1]] * 2, {"until": "2025-07-30T13:00:01"})
@example([_line(TIME_NS, "INFO", "logferry.x", None, {"a": n}, f"a-{n}")[:-1] for n in (1, 21)], {})
def test_what_is_shown_of_a_block_is_what_its_lines_are_one_by_one(lines: list[bytes], options: dict[str, Any]) -> None:
    chosen = {"level": None, "event": None, "grep": None, "since": None, "until": None, "all": False, **options}
    block = b"".join(line + b"\n" for line in lines)
    wanted = list(one_by_one(lines, chosen))
    as_json, as_text = view(**chosen), view(as_json=False, **chosen)
    for one in (as_json, as_text):
        one._shapes = Shapes(learn_after=0, sure_after=0)
    for _ in range(3):  # the shape of the lines is learnt
        assert as_json.page(RUN, block).lines == [raw for raw, _ in wanted]
        assert as_text.page(RUN, block).lines == [text for _, text in wanted]
        assert len(as_text.page(RUN, block, timed=True).times) == len(wanted)


def test_each_line_stands_in_its_frame() -> None:
    block = b'{"time":"2025-07-30T13:00:05.000000Z","level":"INFO","event":"E","seq":"a-1"}\n'
    page = view(as_json=False, frame=("run1 ", "!")).page(RUN, 2 * block)
    assert page.lines == ["run1 2025-07-30 13:00:05 [INFO] E!"] * 2


# The latest time of a page, which may be that of a line that is not shown, and the times of its lines.
PAGES = st.lists(st.tuples(st.sampled_from("0123"), st.lists(st.sampled_from("0123"), max_size=3)), max_size=4)


@given(st.lists(PAGES, max_size=4))
def test_streams_are_merged_by_the_latest_time_so_far_and_then_by_their_order(
    streams: list[list[tuple[str, list[str]]]],
) -> None:
    made: list[list[Page]] = [[] for _ in streams]
    keyed: list[list[tuple[str, int, str]]] = [[] for _ in streams]
    for number, pages in enumerate(streams):
        before = ""
        for at, (latest, times) in enumerate(pages):
            so_far = list(accumulate(times, max))
            lines = [f"{number}.{at}.{place}" for place in range(len(times))]
            made[number].append(Page(lines, so_far, max([latest, *times])))
            keyed[number] += [(max(before, time), number, line) for time, line in zip(so_far, lines, strict=True)]
            before = max([before, latest, *times])
    found = [line for lines in merged(list(map(iter, made))) for line in lines]
    assert found == [line for *_, line in heapq.merge(*keyed, key=lambda row: row[:2])]


def test_the_order_of_what_is_shown_does_not_depend_on_what_is_left_out(tmp_path: Path) -> None:
    """Time goes back in the first host's file: its last line counts as of the time before."""
    for host, producer, times in (("node7", "a", (1, 5, 2)), ("node8", "b", (3, 4))):
        lines = [line(number, second, producer) for number, second in enumerate(times)]
        (tmp_path / f"{host}.jsonl").write_text("".join(lines))
    run = RunLogs("exp", "run1", tmp_path)
    shown = [json.loads(one)["seq"] for lines in read_runs([run], view(grep="n=[02]", as_json=True)) for one in lines]
    assert shown == ["a-0", "b-0", "a-2"]
    late = view(until="2025-07-30T13:00:05", as_json=True)
    assert [json.loads(one)["seq"] for one in last_lines(from_the_end([run]), late, 9)] == ["a-0", "b-0", "b-1", "a-2"]


@given(st.lists(st.text("ab\r", max_size=9), max_size=9), st.text("ab", max_size=9), st.integers(1, 12))
def test_backwards_gives_what_forwards_gives_in_whole_lines(
    tmp_path: Path, rows: list[str], torn: str, size: int
) -> None:
    path = tmp_path / "node7.jsonl"
    path.write_bytes("".join([*(f"{row}\n" for row in rows), torn]).encode())
    found = list(backwards(path, size))
    assert b"".join(reversed(found)) == b"".join(blocks(path, size))
    assert all(block.endswith(b"\n") or not block for block in found)


def test_a_line_that_is_too_long_ends_reading_backwards_as_well(tmp_path: Path) -> None:
    path = tmp_path / "node7.jsonl"
    path.write_bytes(b"first\n" + b"x" * (MAX_LINE_BYTES + 100_000) + b"\nlast\n")
    found = backwards(path)
    assert next(found) == b"last\n"
    with pytest.raises(OSError, match="longer than"):
        next(found)


def line(number: int, second: float, producer: str = "aaaaaaaa") -> str:
    time = f"2025-07-30T13:{int(second) // 60:02d}:{second % 60:09.6f}Z"
    known = {"time": time, "level": "INFO", "event": "Step", "n": number, "pad": "x" * (number % 300)}
    return json.dumps({**known, "seq": f"{producer}-{number}"}, separators=(",", ":")) + "\n"


@pytest.fixture
def run(tmp_path: Path) -> RunLogs:
    """A run of two hosts: rotated, packed and current files of several blocks, and lines that are not whole yet."""
    tmp_path /= "exp/run1"
    tmp_path.mkdir(parents=True)
    random_ = random.Random(7)
    for host in ("node7", "node8"):
        number, second = 0, 0.0
        for name in (".20250730T130000Z-1", ".20250730T130000Z-2", ".20250730T130000Z-3", ""):
            path = tmp_path / f"{host}{name}.jsonl"
            with path.open("w") as file:
                for _ in range(1_500):
                    number, second = number + 1, second + random_.random() / 5
                    file.write(line(number, second))
                file.write("" if name else line(number + 1, second)[:50])
            if name.endswith("2"):
                compress(FileSystem(), path, "zstd")
            if name.endswith("3"):
                compress(FileSystem(), path, "gzip")
    return RunLogs("exp", "run1", tmp_path)


@pytest.mark.parametrize("at_once", [1, 3, 64])
@pytest.mark.parametrize("options", [{}, {"grep": "n=[0-9]*77,"}, {"grep": "n=3999"}, {"until": "2025-07-30T13:03"}])
def test_the_last_lines_are_the_last_of_all(
    run: RunLogs, options: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.pages._AT_ONCE", at_once)
    shown = [one for lines in read_runs([run], view(**options)) for one in lines]
    assert shown
    for count in (0, 1, 10, 1_500, 3_001, 20_000):
        assert last_lines(from_the_end([run]), view(**options), count) == shown[len(shown) - min(count, len(shown)) :]


def test_the_last_lines_are_read_from_the_end(
    run: RunLogs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in run.path.glob("*-*"):
        path.write_bytes(b"nobody looks here")
    opened: list[Path] = []
    monkeypatch.setattr("logferry_agent.logset.blocks", lambda path: opened.append(path) or iter(()))
    assert len(last_lines(from_the_end([run]), view(), 1_000)) == 1_000
    assert (opened, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize(("at_once", "pages"), [(3, 4), (64, 2)])
def test_of_a_packed_file_little_more_than_the_last_lines_is_taken_apart(
    run: RunLogs, monkeypatch: pytest.MonkeyPatch, at_once: int, pages: int
) -> None:
    """Of each piece of several blocks the last page and one more."""
    for path in (run.path / "node7.jsonl", *run.path.glob("node8*")):
        path.unlink()
    shown = [one for lines in read_runs([run], view()) for one in lines]
    taken: list[bytes] = []
    real = View.page

    def page(self: View, run: RunLogs, block: bytes, **options: Any) -> Page:
        taken.append(block)
        return real(self, run, block, **options)

    monkeypatch.setattr(View, "page", page)
    monkeypatch.setattr("logferry_agent.pages._AT_ONCE", at_once)
    assert last_lines(from_the_end([run]), view(), 10) == shown[-10:]
    assert len(taken) <= pages


@pytest.mark.parametrize("packing", [None, "zstd"])
def test_files_that_are_rotated_while_the_last_lines_are_read_give_each_line_once(
    run: RunLogs, monkeypatch: pytest.MonkeyPatch, packing: str | None
) -> None:
    shown = [one for lines in read_runs([run], view()) for one in lines]
    real = RunLogs.files
    turns = iter(range(1, 3))

    def files_then_rotated(self: RunLogs) -> Any:
        found = real(self)
        for turn in turns:
            current = self.path / "node7.jsonl"
            current.rename(rotated := self.path / f"node7.20250730T130000Z-{3 + turn}.jsonl")
            if packing:
                compress(FileSystem(), rotated, packing)
            current.write_text(line(6_000 + turn, 3000))
            break
        return found

    monkeypatch.setattr(RunLogs, "files", files_then_rotated)
    found = last_lines(from_the_end([run]), view(), 20_000)
    assert found == [*shown, *(line(6_000 + turn, 3000)[:-1] for turn in (1, 2))]


def test_a_damaged_file_is_said_and_the_lines_before_it_are_shown(
    run: RunLogs, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = next(run.path.glob("node7*.zst"))
    packed.write_bytes(packed.read_bytes()[:-3])
    forwards = [one for lines in read_runs([run], view()) for one in lines]
    assert f"{packed} cannot be read to its end" in capsys.readouterr().err
    assert last_lines(from_the_end([run]), view(), 20_000) == forwards
    assert f"{packed} cannot be read to its end" in capsys.readouterr().err
