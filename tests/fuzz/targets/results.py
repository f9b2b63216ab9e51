"""Result files through the collector's formats, whatever is registered there: bytes → documents → rows."""

from __future__ import annotations

import json
import pickle

from logferry_collector.formats import FORMATS, Content, Reading
from logferry_collector.identity import NoResultError, record_of
from logferry_collector.records import Found
from mutation import join, split
from real import real

_READING = Reading(pickle=True)
_FLAT = {"experiment_id": "exp", "run_id": "r1", "status": "COMPLETED", "config.lr": 0.1, "metrics.acc": 0.9}


def seeds() -> list[bytes]:
    """Give every format what each of them reads."""
    return [join(end, [(kind, data)]) for kind in range(len(FORMATS)) for data in _samples() for end in (0, 1)]


def _samples() -> list[bytes]:
    documents = [json.loads(one) for one in real().results]
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in documents)
    table = ",".join(_FLAT) + "\n" + 3 * (",".join(map(str, _FLAT.values())) + "\n")
    found = [*real().results, lines, table.encode(), pickle.dumps(documents[0]), json.dumps(documents).encode()]
    return [*found, *_tables()] if any(".parquet" in form.suffixes for form in FORMATS) else found


def _tables() -> list[bytes]:
    """Return a table as Parquet, and as Arrow's files and streams, plain and packed."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([_FLAT | {"curve": [1, None], "opt": {"name": "sgd"}}] * 3)
    words = pyarrow.array(["a", None, "b"])
    table = table.append_column("word", words.dictionary_encode()).append_column("view", words.cast("string_view"))
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table.drop(["view"]), sink)
    found = [sink.getvalue().to_pybytes()]
    for new in (pyarrow.ipc.new_file, pyarrow.ipc.new_stream):
        for codec in (None, "lz4"):
            sink = pyarrow.BufferOutputStream()
            with new(sink, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression=codec)) as writer:
                writer.write_table(table)
            found.append(sink.getvalue().to_pybytes())
    return found


def check(data: bytes) -> None:
    flags, parts = split(data)
    for kind, body in parts[:2]:
        form = FORMATS[kind % len(FORMATS)]
        if form.missing(_READING):
            continue
        found = Found(f"/base/exp/run{form.suffixes[0]}", "/base")
        head = body[:200] if flags & 2 else b""
        parsed = form.parse(Content(body, 3 if head else 0, bool(flags & 1), head, _READING))
        assert 0 <= parsed.taken <= len(body)
        ordinals = [ordinal for ordinal, _ in parsed.documents]
        assert ordinals == sorted(set(ordinals))
        for ordinal, document in parsed.documents:
            try:
                record = record_of(document, found, ordinal, row=parsed.rows)
            except NoResultError:
                continue
            assert "/" not in record.experiment_id + record.run_id
