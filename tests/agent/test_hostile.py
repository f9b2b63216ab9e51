"""Producers that lie: nothing they send ends the agent, spoils what is another's, or fills what all share."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgpack
import pytest

from logferry import results, wire
from logferry_agent.config import AgentConfig
from logferry_agent.exits import Exits
from logferry_agent.filters import Filters
from logferry_agent.fs import FileSystem
from logferry_agent.journal import EVENTS, Entry
from logferry_agent.ledger import Ledger, end_of
from logferry_agent.producers import Producers, Refused
from logferry_agent.quarantine import Quarantine
from support.intake import batch, client, intake, until
from support.journals import ABOUT, spool_records
from support.writerrig import START_NS, event, record, rig

A, B = "aaaaaaaa", "bbbbbbbb"


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"status": ["COMPLETED"], "exit": nested(700)},
        {"status": {"a": 1}, "exit": {"code": nested(700), "text": "x" * (1 << 20)}},
        {"status": "x" * (1 << 19), "exit": {str(number): number for number in range(10_000)}},
    ],
)
def test_a_forged_end_is_cut_to_what_a_seal_and_a_segments_header_can_hold(fields: dict[str, Any]) -> None:
    raw = b"\x95\x01\x00" + b"".join(msgpack.packb(part) for part in ("logferry.end", None))
    packed = b"".join(_packed(key) + _packed(value) for key, value in fields.items())
    found = end_of(record(raw + b"\x82" + packed))
    if found is not None:  # beyond what is read of an end, it is none
        assert len(msgpack.packb(found)) < 1 << 18
        assert isinstance(found["status"], str | None)


def test_an_end_is_found_among_others_that_speak_of_one_and_the_last_one_counts() -> None:
    ends = [record([START_NS, 0, "logferry.end", None, {"status": status}]) for status in ("FAILED", "COMPLETED")]
    spoken = record(event("logferry.end", text="logferry.end " + ends[0].hex()))
    quoted = record(event("Other", data=ends[0]))
    assert end_of(spoken + quoted) is None
    assert end_of(spoken + ends[0] + spoken + ends[1] + quoted) == {"status": "COMPLETED", "exit": None}
    assert end_of(ends[0] + b"\xce" + bytes(3) + b"logferry.end") == {"status": "FAILED", "exit": None}


def _packed(value: Any) -> bytes:
    """Pack deeper than msgpack's packer goes."""
    depth = 0
    while isinstance(value, list) and len(value) == 1:
        value, depth = value[0], depth + 1
    if isinstance(value, dict):
        return b"\xdf" + len(value).to_bytes(4) + b"".join(_packed(k) + _packed(v) for k, v in value.items())
    return b"\x91" * depth + msgpack.packb(value)


def test_the_journal_goes_on_to_its_next_segment_after_a_forged_end(root: Path) -> None:
    async def main() -> None:
        async with intake(root) as built, client(built.address) as one:
            built.journal._segment_bytes = 4096
            await one.greet(A)
            raw = b"\x95\x01\x00\xaclogferry.end\xc0" + b"\x81" + _packed("exit") + b"\x81" + _packed("code")
            payload = record(raw + _packed(nested(700)))
            await one.say(batch(A, 1, 1, payload))
            await one.acked(A, 1)
            for number in range(2, 12):
                await one.say(batch(A, number, 1, spool_records([1, 20, "E", None, {"x": "x" * 2000}])))
                await one.acked(A, number)
            assert built.journal.running

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_id": "other"},
        {"run_id": "other"},
        {"run_id": None},
        {"status": ["COMPLETED"]},
        {"revision": 1 << 62},
        {"attempt": -1},
        {"metrics": "none"},
    ],
)
def test_a_document_that_is_not_the_runs_own_never_becomes_its_result(root: Path, change: dict[str, Any]) -> None:
    async def main() -> None:
        async with rig(root) as one:
            known = {"experiment_id": "exp", "run_id": "run1", "owner": A, "revision": 1, "attempt": 1}
            one.hello(A, owner=True)
            one.events(A, 1, [START_NS, 0, "logferry.result", None, {**known, "status": "RUNNING"}])
            one.events(A, 2, [START_NS, 0, "logferry.result", None, {**known, "status": "COMPLETED", **change}])
            one.seal(A, 2)
            await one.quiet()
            assert results.read(one.home.result("exp", "run1"))["status"] == "KILLED"
            assert not (one.home.results / "other").exists()
            assert not one.writer.held()

    asyncio.run(main())


def test_a_payload_of_rubbish_is_kept_as_one_file_and_marked_number_by_number(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello(A)
            one.events(A, 1, *[b"\xc1\xc1\xc1\xc1\xc1\xc1"] * 500)
            one.events(A, 501, event())
            await one.quiet()
            assert len(one.bad) == 1
            assert one.seqs() == [f"{A}-{number}" for number in range(1, 502)]

    asyncio.run(main())


def test_more_records_than_were_announced_have_no_numbers_and_are_kept_aside(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello(A)
            one.events(A, 1, event(), event())
            payload = b"".join(map(record, (event(), event(x=1))))
            one.journal.append([Entry(EVENTS, A, 3, 1, payload)])
            one.events(A, 4, event())
            await one.quiet()
            assert one.seqs() == [f"{A}-{number}" for number in range(1, 5)]
            assert len(one.bad) == 1

    asyncio.run(main())


def test_a_gap_record_of_a_producer_cannot_mark_numbers_as_lost(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello(A)
            forged = {"producer": B, "first": 1, "lost": 1 << 40, "shed": {"DEBUG": 3}}
            one.events(A, 1, [START_NS, 0, "logferry.gap", None, forged], event())
            await one.quiet()
            assert [line.get("first") for line in one.lines()] == [None, None]
            assert one.lines()[0]["shed"] == {"DEBUG": 3}

    asyncio.run(main())


def test_quarantine_keeps_a_bounded_number_of_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.quarantine._LIMIT_FILES", 3)
    kept = Quarantine(FileSystem(), root / "bad")
    for number in range(10):
        kept.keep(f"one-{number}", b"x")
    assert (len(os.listdir(root / "bad")), kept.kept) == (3, 10)


@pytest.mark.parametrize("key", ["run_id", "pid", "pid_start", "boot_id"])
def test_a_hello_with_the_id_of_another_process_is_refused(root: Path, key: str) -> None:
    async def main() -> None:
        async with intake(root) as built, client(built.address) as one, client(built.address) as other:
            await one.greet(A)
            value = "other" if isinstance(ABOUT.get(key, 0), str) else 12345
            await other.say(wire.Hello(A, 0, ABOUT | {key: value}))
            await until(lambda: built.receiver.refused["hello"])
            await one.say(batch(A, 1))
            await one.acked(A, 1)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_floods_of_hellos_and_flushes_leave_others_their_turn(root: Path) -> None:
    async def main() -> None:
        async with intake(root) as built, client(built.address) as loud, client(built.address) as quiet:
            await quiet.greet(B)
            await loud.greet(A)
            for _ in range(300):
                await loud.say(wire.Hello(A, 0, ABOUT))
                await loud.say(wire.Flush(A, True))
            await quiet.say(batch(B, 1))
            await quiet.acked(B, 1)
            assert len(built.producers) == 2

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_frame_that_trips_the_agent_does_not_stop_the_next_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with intake(root) as built, client(built.address) as one:
            await one.greet(A)
            monkeypatch.setattr(built.producers, "offer", lambda *_: 1 / 0)
            await one.say(batch(A, 1))
            await until(lambda: built.receiver.refused["unexpected"])
            monkeypatch.undo()
            await one.say(batch(A, 1))
            await one.acked(A, 1)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_an_answer_that_lists_thousands_of_producers_arrives() -> None:
    said = {"producers": [{"producer": f"{number:012d}", "run_id": "r" * 128} for number in range(2000)]}
    assert wire.decode(wire.encode(wire.Answer(said))) == wire.Answer(said)


@pytest.mark.parametrize("level", [-5, 0, 1, 15, 51, 1 << 62, -(1 << 62)])
def test_a_level_that_nobody_knows_is_rendered_in_lines_and_text(root: Path, level: int) -> None:
    async def main() -> None:
        async with rig(root, text=True, text_level="DEBUG") as one:
            one.hello(A)
            one.events(A, 1, event(level=level), event("logferry.x\x1b", level=level))
            await one.quiet()
            assert one.seqs() == [f"{A}-1", f"{A}-2"]
            assert not one.writer.held()

    asyncio.run(main())


@pytest.mark.parametrize(
    "name", ["RUN", "Run", "logs", "results", "con", "~2", "x.jsonl", "r.part-a", "-rf", "a~2.log"]
)
def test_runs_with_names_that_mean_something_elsewhere_stay_apart(root: Path, name: str) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello(A, run="run")
            one.hello(B, run=name)
            one.steps(A, 1, 5)
            one.steps(B, 1, 5)
            await one.quiet()
            assert one.seqs("run") == [f"{A}-{number}" for number in range(1, 6)]
            assert one.seqs(name) == [f"{B}-{number}" for number in range(1, 6)]

    asyncio.run(main())


def test_ids_that_are_no_single_safe_component_are_refused() -> None:
    for bad in ("", ".", "..", "a/b", "a\0b", "/etc", "a\x1b[2J", "\u202eevil", "x" * 129):
        entry = Producers(Ledger()).introduce(A, ABOUT | {"run_id": bad})
        assert isinstance(entry, Refused), bad


def test_filters_remember_a_bounded_number_of_names() -> None:
    filters = Filters(AgentConfig(), {})
    for number in range(200_000):
        filters.in_text(f"Event{number}", 20)
    assert len(filters._text) < 100_000


@pytest.mark.parametrize("path", ["\0", "/sys/fs/cgroup/\0", "/sys/fs/cgroup/../../etc", "x" * 4000])
def test_a_cgroup_that_is_none_leaves_the_end_of_its_producer_unknown(path: str) -> None:
    assert Exits().how(ABOUT | {"pid": 1 << 22, "cgroup": path, "cgroup_inode": 1, "oom_kills": 0}) == {}


def test_a_flush_of_a_job_that_knows_no_other_wait_asks_for_written() -> None:
    old = [b"flush", msgpack.packb([wire.VERSION, A]), b""]
    assert wire.decode(old) == wire.Flush(A, True)
