"""What must hold for anything that the journal took: one line or one counted gap for each number, in two forms."""

from __future__ import annotations

from typing import Any

import msgpack
import orjson

from logferry_agent.chunk import Renderer
from logferry_agent.config import AgentConfig
from logferry_agent.filters import Filters
from logferry_agent.journal import EVENTS, Record
from logferry_agent.lines import LineMaker, _slow
from logferry_agent.scan import Scan
from logferry_agent.settle import settle
from logferry_agent.state import Key, Unsettled

RENDERER = Renderer(Filters(AgentConfig(), {}))


_RUN = Key("exp", "run", "jsonl")


def check(records: list[Record], key: Key = _RUN) -> None:
    """Render the records of one run."""
    chunk = RENDERER.render(key, records, {})
    scan = Scan()
    scan.add(chunk.data)
    assert not scan.faults, scan.faults
    for line in chunk.data.splitlines():
        found = orjson.loads(line)
        assert list(found)[-1] == "seq", found
    _numbers_are_accounted_for(records, scan)
    text = RENDERER.render(Key(key.experiment, key.run, "text"), records, {})
    assert text.data.count(b"\n") == len(text.data.decode().splitlines())
    if chunk.document is not None or chunk.seals:
        begun = {"experiment_id": key.experiment, "run_id": key.run, "status": "RUNNING", "owner": "aaaaaaaa"}
        settle(None, Unsettled(key.experiment, key.run, chunk.document, chunk.seals), begun, alive=False)


def _numbers_are_accounted_for(records: list[Record], scan: Scan) -> None:
    ends: dict[str, int] = {}
    for record in records:
        if record.kind == EVENTS and record.first + record.events - 1 > ends.get(record.producer, 0):
            ends[record.producer] = record.first + record.events - 1
    for producer, end in ends.items():
        if producer != "agent":
            found = scan.producers[producer]
            assert (found.last >= end, found.again, found.missing) == (True, 0, []), (producer, end, found)


def both_ways_agree(producer: str, first: int, events: int, payload: bytes) -> None:
    """The fast way of rendering gives the bytes of the slow one, where the records are as long as they say."""
    if not _lengths_hold(events, payload):
        return
    fast = LineMaker().events(producer, first, events, payload)
    slow = _slow(producer, first, events, payload, first - 1)
    assert fast.data == slow.data, (fast.data, slow.data)
    assert _plain(fast.bad) == _plain(slow.bad)


def _lengths_hold(events: int, payload: bytes) -> bool:
    at = 0
    for _ in range(events):
        end = at + 10 + int.from_bytes(payload[at + 1 : at + 5])
        try:
            msgpack.unpackb(payload[at + 10 : end], strict_map_key=False, unicode_errors="backslashreplace")
        except (ValueError, TypeError):
            return False
        if payload[at : at + 1] + payload[at + 5 : at + 6] != b"\xce\xce":
            return False
        at = end
    return at == len(payload)


def _plain(parts: Any) -> bytes:
    return b"".join(parts)
