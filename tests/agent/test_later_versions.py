"""What a later logferry wrote is refused by name and version, kept byte for byte, and in nobody's way."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import pytest

from logferry import spool
from logferry.segment import HEADER, header
from support.agents import AgentProcess, lines, logferry, status, wait_for
from support.deadproducer import producer

A, B = "aaaaaaaa", "bbbbbbbb"


def contents(directory: Path) -> dict[str, bytes]:
    # Left out: a cache of SQLite's, and the pid of whoever started last.
    paths = [path for path in directory.iterdir() if path.is_file() and not path.name.endswith(("-shm", ".lock"))]
    return {path.name: path.read_bytes() for path in paths}


def refused(node_dir: Path, home: Path, path: Path) -> None:
    """Say that no agent starts, that it names the file and both versions, and that the directory stays as it is."""
    before = contents(path.parent)
    done = logferry("agent", node_dir=node_dir, home=home)
    assert done.returncode == 1
    assert f"{path} was written by a later logferry (version 2, this one knows 1)" in done.stderr
    assert contents(path.parent) == before


def test_a_database_of_a_later_version_keeps_the_agent_from_starting(node_dir: Path, home: Path) -> None:
    with AgentProcess(node_dir, home) as agent:
        agent.stop()
    path = node_dir / "state.db"
    for keep_open in (False, True):  # with the change in the file, and in the write-ahead log beside it
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 2")
            db.commit()
            if not keep_open:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            refused(node_dir, home, path)
        db.close()


def test_a_journal_of_a_later_version_keeps_the_agent_from_starting_and_jobs_their_events(
    node_dir: Path, home: Path
) -> None:
    node_dir.mkdir(mode=0o700)
    producer(node_dir / "spool", A, 3)
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: not (node_dir / "spool" / A).exists())
        agent.stop()
    (*_, newest) = sorted((node_dir / "journal").glob("*.jnl"))
    later = newest.with_name(f"{int(newest.stem, 16) + 1:016x}.jnl")
    later.write_bytes(b"LFJSEG" + struct.pack("<H", 2) + b"a layout of its own" * 9)
    producer(node_dir / "spool", B, 3)
    refused(node_dir, home, later)
    assert (node_dir / "spool" / B).exists()
    later.unlink()
    with AgentProcess(node_dir, home):
        wait_for(lambda: not (node_dir / "spool" / B).exists())


def test_one_changed_bit_in_the_version_of_a_segment_is_damage_and_no_later_version(node_dir: Path, home: Path) -> None:
    node_dir.mkdir(mode=0o700)
    producer(node_dir / "spool", A, 3)
    with AgentProcess(node_dir, home) as agent:
        wait_for(lambda: not (node_dir / "spool" / A).exists())
        agent.stop()
    (*_, newest) = sorted((node_dir / "journal").glob("*.jnl"))
    data = bytearray(newest.read_bytes())
    data[6] ^= 2
    newest.write_bytes(data)
    producer(node_dir / "spool", B, 3)
    with AgentProcess(node_dir, home):
        wait_for(lambda: not (node_dir / "spool" / B).exists())
    assert len([line for line in lines(home) if line["event"] == "E"]) == 6


def hello_of_a_later_version(directory: Path) -> Path:
    path = directory / "hello"
    path.write_bytes(b"LFHL" + struct.pack(">I", 2) + b"a layout of its own")
    return path


def segment_of_a_later_version(directory: Path) -> Path:
    path = directory / "00000001.seg"
    data = header(1).replace(struct.pack(">I", 1), struct.pack(">I", 2), 1)
    path.write_bytes(data[: HEADER.size - 8] + b"its own!" + path.read_bytes()[HEADER.size :])
    return path


@pytest.mark.parametrize("change", [hello_of_a_later_version, segment_of_a_later_version])
def test_a_spool_of_a_later_version_is_said_left_where_it_is_and_in_nobodys_way(
    node_dir: Path, home: Path, root: Path, change: object
) -> None:
    assert callable(change)
    node_dir.mkdir(mode=0o700)
    producer(node_dir / "spool", A, 3)
    path = change(node_dir / "spool" / A)
    before = contents(path.parent)
    with AgentProcess(node_dir, home) as agent:
        producer(node_dir / "spool", B, 3)
        wait_for(lambda: not (node_dir / "spool" / B).exists())
        (held,) = wait_for(lambda: status(node_dir, home)["agent"]["held"])
        assert (held["what"], held["path"], "version 2; this one knows 1" in held["error"]) == (
            "spool",
            str(path),
            True,
        )
        assert agent.said().count(str(path)) == 1
        assert contents(path.parent) == before
        path.parent.rename(root / A)
        wait_for(lambda: not status(node_dir, home)["agent"]["held"])
        assert agent.stop() == 0
    assert len([line for line in lines(home) if line["event"] == "E"]) == 3


def test_the_counts_of_a_later_version_are_not_believed(root: Path) -> None:
    producer(root, A, 3)
    path = root / A / "head"
    data = bytearray(path.read_bytes())
    data[7], data[15] = 2, 3
    path.write_bytes(data)
    assert spool.read_head(root / A) == spool.Head(0, 0, {})
