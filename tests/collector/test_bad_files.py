"""Bad result files wait or stand among the rejects with their reason; the others go on."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from pickle import dumps as pickle_of
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from logferry_collector.config import CollectorConfig
from logferry_collector.formats import packed, pickle
from logferry_collector.formats.arrow import Parquet
from logferry_collector.formats.json import JSON
from logferry_collector.formats.jsonl import JSONLines
from logferry_collector.takein import TakeIn
from support.collecting import SAMPLE, Place


def test_a_half_written_file_waits_then_is_incomplete_then_good(place: Place) -> None:
    place.write("e/r.json", '{"status": "COMP')
    place.collect()
    assert (place.ids(), place.faults()) == ([], [])
    place.settle()
    assert place.faults() == [("r.json", 0, "incomplete")]
    place.write("e/r.json", {"status": "COMPLETED"})
    place.collect()
    assert (place.ids(), place.faults()) == (["r"], [])


def test_a_refused_file_that_is_named_twice_is_taken_in_once(place: Place) -> None:
    fifo = place.write("e/pipe.json", "")
    fifo.unlink()
    os.mkfifo(fifo)
    found = place.take_in.discover.look({str(fifo), str(fifo.parent)})
    looks = iter(range(10))
    assert place.take_in.consolidator.take(found, lambda: next(looks, None) is None) == 1
    assert (next(looks), place.faults()) == (1, [("pipe.json", 0, "unreadable")])


def test_a_row_stands_while_its_file_is_broken(place: Place) -> None:
    place.write("e/r.json", {"status": "RUNNING"})
    place.collect()
    place.write("e/r.json", "{")
    place.settle()
    assert (place.ids(), place.faults()) == (["r"], [("r.json", 0, "incomplete")])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("7", "not an object"),
        ({"metrics": [1]}, "metrics is a list"),
        ({"metrics": {}, "config": "x"}, "config is a str"),
        ({"revision": 1 << 64}, "revision is beyond 64 bits"),
        ({"metrics": {}, "revision": True}, "revision is a bool"),
        ({"run_id": "../x"}, "run id '../x'"),
        ({"run_id": ""}, "is empty"),
        ({"run_id": 7, "metrics": {}}, "run_id is a int"),
        ({"experiment_id": "a\x1b[31m"}, "contains a control character"),
        ('{"config": {"x": ' + "9" * 10_000 + "}}", "a number is too long"),
        ('{"config": ' + '{"a":' * 101 + "1" + "}" * 102, "nested deeper"),
    ],
)
def test_a_document_of_wrong_types_is_refused_with_its_reason(place: Place, content: object, reason: str) -> None:
    place.write("e/bad.json", content)
    place.write("e/good.json", SAMPLE)
    place.collect()
    ((path, reject),) = place.store.rejects()
    assert (place.ids(), Path(path).name, str(reject.fault)) == (["good"], "bad.json", "invalid")
    assert reason in reject.reason


@pytest.mark.parametrize("content", ["", "   ", "not json", b"\xff\xfe\x00", "[" * 100_000, "9" * 10_000])
def test_what_is_not_json_is_refused_after_the_settle_time(place: Place, content: str | bytes) -> None:
    place.write("e/bad.json", content)
    place.settle()
    assert len(place.faults()) == 1


def test_a_file_of_100_mb_is_refused_without_being_read_whole(place: Place) -> None:
    path = place.write("e/big.json", "{")
    os.truncate(path, 100 << 20)
    place.collect()
    assert place.faults() == [("big.json", 0, "too large")]
    assert JSON.max_bytes < 100 << 20


def test_a_fifo_a_socket_and_a_link_are_refused_and_never_opened(place: Place, root: Path) -> None:
    good = place.write("e/good.json", SAMPLE)
    os.mkfifo(good.with_name("fifo.json"))
    good.with_name("link.json").symlink_to(good)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(good.with_name("sock.json")))
        place.collect()
    assert [(name, fault) for name, _, fault in place.faults()] == [
        (f"{kind}.json", "unreadable") for kind in ("fifo", "link", "sock")
    ]
    assert place.ids() == ["good"]


def test_a_linked_directory_is_not_followed_and_said(place: Place, root: Path) -> None:
    place.write("e/good.json", SAMPLE)
    (place.home.results / "loop").symlink_to(place.home.results)
    place.collect()
    assert (place.ids(), place.faults()) == (["good"], [("loop", 0, "unreadable")])
    assert place.store.rejects()[0][1].reason == "is a link, which is not followed; only files are read"


def test_a_file_without_permission_is_refused_and_taken_once_it_may_be_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really_open = place.write("e/r.json", SAMPLE), os.open

    def denied(name: str, *rest: int) -> int:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied", name)
        return really_open(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        place.collect()
    assert place.faults() == [("r.json", 0, "unreadable")]
    path.chmod(0o600)
    place.collect()
    assert (place.ids(), place.faults()) == (["r"], [])


def _without_memory(*_: Any, **__: Any) -> None:
    raise MemoryError


def _without_descriptors(path: str, *_: int) -> int:
    raise OSError(errno.EMFILE, "Too many open files", path)


LACKING: dict[str, tuple[object, str, Any]] = {
    "r.json": (JSON, "parse", _without_memory),
    "r.jsonl": (JSONLines, "parse", _without_memory),
    "r.json.gz": (packed, "unpacked", _without_memory),
    "r.yaml": (yaml, "load_all", _without_memory),
    "r.pickle": (pickle._Machine, "load", _without_memory),
    "r.parquet": (Parquet, "_batches", _without_memory),
    "s.json": (os, "open", _without_descriptors),
    "s.jsonl": (os, "pread", _without_memory),
}


@pytest.mark.parametrize("name", LACKING)
def test_a_file_for_which_there_is_no_memory_or_descriptor_is_read_once_there_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = CollectorConfig(pickle=True)
    place.restart(config)
    path = place.write(f"e/{name}", _content(name, 1))
    place.settle()
    (run,) = place.ids()
    path.write_bytes(_content(name, 2))
    with monkeypatch.context() as patch:
        patch.setattr(*LACKING[name])
        assert place.settle() == 1
        assert place.faults() == [(name, 0, "unavailable")]
        assert "it is tried again" in place.store.rejects()[0][1].reason
        assert place.documents()[0]["metrics"] == {"x": 1}
    other = TakeIn(place.store, place.home, config, place.clock_ns)  # which starts now
    assert [one.path for one in other.discover.scan()] == [str(path)]
    place.ahead_s += 11
    found = place.take_in.discover.look(set(place.take_in.discover.due()))
    assert place.take_in.consolidator.take(found) == 1
    assert (place.ids(), place.faults()) == ([run], [])
    assert place.documents()[0]["metrics"] == {"x": 2}


def test_a_file_that_says_the_same_once_it_can_be_read_is_no_reject(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.write("e/r.json", SAMPLE)
    place.settle()
    path.touch()
    with monkeypatch.context() as patch:
        patch.setattr(JSON, "parse", _without_memory)
        place.settle()
    assert place.faults() == [("r.json", 0, "unavailable")]
    place.settle()
    assert (place.ids(), place.faults()) == (["r"], [])


def _content(name: str, x: int) -> bytes:
    document = {"run_id": "r", "metrics": {"x": x}}
    if name.endswith("parquet"):
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"run_id": ["r"], "metrics.x": [x]}), file)
        return file.getvalue()
    if name.endswith("pickle"):
        return pickle_of(document)
    text = json.dumps(document).encode() + b"\n"
    return gzip.compress(text) if name.endswith("gz") else text


def test_a_name_that_is_no_utf8_is_refused_by_its_escape(place: Place) -> None:
    place.write("e/good.json", SAMPLE)
    bad = os.fsencode(place.home.results / "e") + b"/\xff.json"
    Path(os.fsdecode(bad)).write_text("{}")
    place.collect()
    assert place.faults() == [("\\xff.json", 0, "invalid")]
    assert place.ids() == ["good"]


def test_a_file_directly_below_results_needs_an_experiment_id(place: Place) -> None:
    place.write("r.json", {"status": "COMPLETED"})
    place.write("s.json", SAMPLE)
    place.collect()
    assert (place.ids(), place.faults()) == (["s"], [("r.json", 0, "invalid")])


def test_the_reject_of_a_file_that_is_gone_goes_too(place: Place) -> None:
    path = place.write("e/bad.json", "7")
    place.collect()
    path.unlink()
    place.collect()
    assert place.faults() == []


def test_an_unchanged_reject_is_not_read_again(place: Place) -> None:
    place.write("e/bad.json", "7")
    place.collect()
    place.ahead_s += 1
    place.collect()
    assert place.collect() == 0


def denied(really: Callable[..., Any], ending: str) -> Callable[..., Any]:
    """Return a call of the file system that fails for some paths."""

    def call(path: str, *rest: Any, **more: Any) -> Any:
        if str(path).endswith(ending):
            raise PermissionError(13, "Permission denied", path)
        return really(path, *rest, **more)

    return call


def test_a_directory_that_cannot_be_listed_is_said_once_until_it_can(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("closed/r.json", SAMPLE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied(os.scandir, "closed"))
        assert [place.collect(), place.collect()] == [1, 0]
        place.restart()
        assert (place.collect(), place.faults()) == (0, [("closed", 0, "unreadable")])
    place.collect()
    assert (place.ids(), place.faults()) == (["r"], [])


def test_a_directory_in_which_no_file_can_be_asked_about_stops_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("e/bad.json", SAMPLE)
    place.write("e/good.json", SAMPLE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", denied(os.lstat, "bad.json"))
        place.collect()
        place.ahead_s += 1
        assert place.collect() == 0
        assert (place.ids(), place.faults()) == (["good"], [("bad.json", 0, "unreadable")])
    place.collect()
    assert (place.ids(), place.faults()) == (["bad", "good"], [])


@pytest.mark.parametrize("restarted", [False, True])
def test_rejects_stand_again_when_their_directory_comes_back(place: Place, restarted: bool) -> None:
    place.write("e/was-good.json", SAMPLE)
    place.append("e/rows.jsonl", {"run_id": "one"}, "bad", {"run_id": "two"})
    place.collect()
    place.write("e/was-good.json", "7")
    place.write("e/bad.json", "7")
    place.collect()
    before = place.faults()
    away = place.home.results.rename(place.home.path / "away")
    place.ahead_s += 1
    place.collect()
    assert place.faults() == []
    away.rename(place.home.results)
    if restarted:
        place.restart()
    place.collect()
    assert len(before) == 3
    assert (place.faults(), place.ids()) == (before, ["one", "two", "was-good"])


def test_a_line_that_is_too_long_is_refused_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JSONLines, "max_bytes", 100)
    long = {"run_id": "long", "notes": "x" * 500}
    place.append("e/r.jsonl", {"run_id": "a"}, long, {"run_id": "b"}, long)
    place.collect()
    assert (place.ids(), place.faults()) == (["a", "b"], [("r.jsonl", 2, "too large"), ("r.jsonl", 4, "too large")])
    place.append("e/r.jsonl", {"run_id": "c"}, json.dumps(long), end="")
    place.collect()
    assert (place.ids(), place.faults()[0]) == (["a", "b", "c"], ("r.jsonl", 0, "too large"))
    place.append("e/r.jsonl", "", {"run_id": "d"})
    place.collect()
    assert (place.ids(), [line for _, line, _ in place.faults()]) == (["a", "b", "c", "d"], [2, 4, 6])


def test_a_document_of_thousands_of_odd_keys_is_kept_to_the_letter(place: Place) -> None:
    odd = ["a.b", 'q"', "'; DROP TABLE result; --", "nul\x00", "\u202ebidi", "back\\slash", "", "$", "\ud800", "k[0]"]
    config = {key: number for number, key in enumerate([*odd, *map(str, range(10_000))])} | {"a": {"b": 1}}
    place.write("e/r.json", {"config": config, "metrics": {f"m{number}": number for number in range(3_000)}})
    place.collect()
    (document,) = place.documents("config.$ = 7")
    assert (document["config"], place.ids('"config.\'; DROP TABLE result; --" = 2')) == (config, ["r"])
    (row,) = place.reader.results().group("experiment_id")
    assert row["m2999.mean"] == 2999


def test_of_a_key_that_stands_twice_the_last_counts(place: Place) -> None:
    place.write("e/r.json", '{"status": "RUNNING", "status": "FAILED"}')
    place.collect()
    assert place.documents()[0]["status"] == "FAILED"


def test_a_format_that_raises_against_its_word_stops_that_file_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(_self: object, _content: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(JSON, "parse", parse)
    place.write("e/r.json", SAMPLE)
    place.append("e/all.jsonl", {"run_id": "s"})
    place.collect()
    assert (place.ids(), place.faults()) == (["s"], [("r.json", 0, "unreadable")])
