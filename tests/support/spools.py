"""What jobs without an agent left behind: the events of their spools, and their result files."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from logferry.leftovers import Slice, read_dead
from logferry.spool import read_about
from support.node import Node


def spooled(node: Node) -> dict[str, list[list[Any]]]:
    """Return the events of every producer; all of them must be whole and in order."""
    found = {}
    for directory in (node.dir / "spool").iterdir():
        events: list[list[Any]] = []
        for piece in read_dead(directory, 0, 1 << 20):
            assert isinstance(piece, Slice), piece
            assert piece.first == len(events) + 1
            events += _events(piece.payload)
        found[directory.name] = events
    return found


def _events(payload: bytes) -> list[list[Any]]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(payload)
    return list(unpacker)[2::3]


def named(node: Node, event: str) -> list[dict[str, Any]]:
    """Return the fields of all events of a name."""
    return [fields for events in spooled(node).values() for _, _, name, _, fields in events if name == event]


def abouts(node: Node) -> dict[str, dict[str, Any]]:
    """Return what each producer said of itself."""
    found = {}
    for directory in (node.dir / "spool").iterdir():
        about = read_about(directory)
        assert isinstance(about, dict)
        found[directory.name] = about
    return found


def results(node: Node) -> list[dict[str, Any]]:
    """Return the runs' documents, without parts."""
    paths = sorted(path for path in (node.home / "results").glob("*/*.json") if ".part-" not in path.name)
    return [json.loads(path.read_text()) for path in paths]


def result(node: Node) -> dict[str, Any]:
    (only,) = results(node)
    return only


def parts(node: Node) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((node.home / "results").glob("*/*.part-*.json"))]
