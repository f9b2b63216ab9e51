"""Result files through the collector's formats, one as the other: bytes → documents → rows."""

from __future__ import annotations

import json

from logferry_collector.formats import FORMATS, Content, Reading
from logferry_collector.identity import NoResultError, record_of
from logferry_collector.records import Found
from mutation import join, split
from real import real


def seeds() -> list[bytes]:
    """Give every format the real documents, as JSON and as JSON Lines."""
    lines = b"".join(json.dumps(json.loads(one)).encode() + b"\n" for one in real().results)
    return [
        join(end, [(kind, data)]) for kind in range(len(FORMATS)) for data in (*real().results, lines) for end in (0, 1)
    ]


def check(data: bytes) -> None:
    flags, parts = split(data)
    for kind, body in parts[:2]:
        form = FORMATS[kind % len(FORMATS)]
        found = Found(f"/base/exp/run{form.suffixes[0]}", "/base")
        parsed = form.parse(Content(body, 3, bool(flags & 1), reading=Reading(pickle=True)))
        assert 0 <= parsed.taken <= len(body)
        ordinals = [ordinal for ordinal, _ in parsed.documents]
        assert ordinals == sorted(set(ordinals))
        for ordinal, document in parsed.documents:
            try:
                record = record_of(document, found, ordinal, row=parsed.rows)
            except NoResultError:
                continue
            assert "/" not in record.experiment_id + record.run_id
