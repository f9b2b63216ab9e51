"""`logferry show`: one run whole: how it ended, its errors first, then what it was and where its files are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import orjson

from logferry.cli import FINE, Parser, printable
from logferry.results import FIELDS
from logferry_collector.output import cell, print_json
from logferry_collector.query import Reader
from logferry_collector.verb import answer, json_option

_LOUD = frozenset({"WARNING", "ERROR", "CRITICAL"})
# The end of a log is where a run's trouble is, and may be read whatever the log's size.
_TAIL_BYTES = 1 << 20
_MAX_LINES = 20
_SECTIONS = ("exit", "config", "metrics", "environment")


def show(arguments: list[str]) -> int:
    """Show one run."""
    parser = Parser("show")
    parser.add_argument("run", metavar="RUN", help="an id, its beginning or end, or EXPERIMENT/RUN")
    json_option(parser)
    options = parser.parse_args(arguments)

    def question(reader: Reader) -> int:
        document = reader.run(options.run)
        whole = _whole(reader, document)
        if options.json:
            print_json(whole)
        else:
            _print(document, whole)
        return FINE

    return answer(options, question)


def _whole(reader: Reader, document: dict[str, Any]) -> dict[str, Any]:
    ids = document["experiment_id"], document["run_id"]
    logs = _logs(reader.home.run_logs(*ids))
    files = [{"path": path, "part": part, "shown": winner} for path, part, winner in reader.store.files_of_run(*ids)]
    return {"result": document, "trouble": trouble(logs), "files": files, "logs": [str(log) for log in logs]}


def _logs(directory: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    return []


def trouble(logs: list[Path]) -> list[dict[str, Any]]:
    """Return the last warnings and errors of some running logs, in order of time."""
    found = [event for log in logs if log.name.endswith(".jsonl") for event in _loud(log)]
    found.sort(key=lambda event: str(event.get("time", "")))
    return found[-_MAX_LINES:]


def _loud(log: Path) -> list[dict[str, Any]]:
    try:
        fd = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    with open(fd, "rb") as file:
        size = os.fstat(fd).st_size
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        lines = file.read(_TAIL_BYTES).split(b"\n")
    events = []
    for line in lines[1:] if start else lines:
        with contextlib.suppress(ValueError):
            event = orjson.loads(line)
            if isinstance(event, dict) and event.get("level") in _LOUD:
                events.append(event)
    return events


def _print(document: dict[str, Any], whole: dict[str, Any]) -> None:
    print(f"{cell(document['experiment_id'])}/{cell(document['run_id'])}  {cell(document.get('status'))}")
    if whole["trouble"]:
        print("\nlast warnings and errors")
        for event in whole["trouble"]:
            print(f"  {_line(event)}")
    _print_fields("", {key: document[key] for key in _ordered(document) if key not in _SECTIONS})
    for section in _SECTIONS:
        if document.get(section):
            _print_fields(section, document[section])
    print("\nfiles")
    for file in whole["files"]:
        note = "" if len(whole["files"]) == 1 else "  (shown)" if file["shown"] else "  (part)" if file["part"] else ""
        print(f"  {printable(file['path'])}{note}")
    for log in whole["logs"]:
        print(f"  {printable(log)}")


def _ordered(document: dict[str, Any]) -> list[str]:
    known = [name for name in FIELDS if document.get(name) not in (None, "", [], {})]
    return [name for name in known if name not in {"experiment_id", "run_id", "status"}] + [
        name for name in document if name not in FIELDS
    ]


def _print_fields(title: str, fields: Any) -> None:
    print(f"\n{title}" if title else "")
    if not isinstance(fields, dict):
        print(f"  {cell(fields)}")
        return
    width = max((len(printable(name)) for name in fields), default=0)
    for name, value in fields.items():
        if isinstance(value, str) and "\n" in value:  # a traceback
            print(f"  {printable(name)}")
            print("\n".join(f"    {printable(line)}" for line in value.splitlines()))
        else:
            print(f"  {printable(name):<{width}}  {cell(value)}")


def _line(event: dict[str, Any]) -> str:
    fields = {key: value for key, value in event.items() if key not in {"time", "level", "event", "message", "seq"}}
    parts = [str(event["message"])] if event.get("message") else []
    parts += [f"{key}={cell(value)}" for key, value in fields.items()]
    head = f"{event.get('time', '')} [{event.get('level')}] {event.get('event', '')}"
    return printable(head + (": " + ", ".join(parts) if parts else ""))
