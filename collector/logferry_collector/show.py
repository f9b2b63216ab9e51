"""`logferry show`: one run whole: how it ended, its errors first, then what it was and where its files are."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from logferry.cli import FINE, Parser, printable
from logferry.edits import MARK
from logferry.results import FIELDS
from logferry_collector.export import flat
from logferry_collector.output import cell, print_json
from logferry_collector.query import Reader
from logferry_collector.trouble import trouble
from logferry_collector.verb import answer, json_option

_SECTIONS = ("exit", "config", "metrics", "environment")
_EXAMPLES = """\
examples:
  logferry show 3f9xk2m7            an id's end is enough where no other has it
  logferry show exp042/baseline
"""
_LINE_FIELDS = frozenset({"time", "level", "event", "message", "seq"})


def show(arguments: list[str]) -> int:
    """Show one run."""
    parser = Parser("show", epilog=_EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="an id, its beginning or end, or EXPERIMENT/RUN")
    json_option(parser)
    options = parser.parse_args(arguments)

    def question(reader: Reader) -> int:
        whole = _whole(reader, reader.run(options.run))
        if options.json:
            print_json(whole)
        else:
            _print(whole)
        return FINE

    return answer(options, question)


def _whole(reader: Reader, document: dict[str, Any]) -> dict[str, Any]:
    ids = document["experiment_id"], document["run_id"]
    logs = trouble(reader.home.run_logs(*ids))
    files = [{"path": path, "part": part, "shown": winner} for path, part, winner in reader.store.files_of_run(*ids)]
    return {
        "result": document,
        "errors": logs.errors,
        "warnings": logs.warnings,
        "seals": logs.seals,
        "attempts": [{"attempt": number, **what} for number, what in logs.attempts.items()],
        "files": files,
        "logs": [str(path) for path in logs.files],
        "unread": logs.unread,
    }


def _print(whole: dict[str, Any]) -> None:
    document = whole["result"]
    print(f"{cell(document['experiment_id'])}/{cell(document['run_id'])}  {cell(document.get('status'))}")
    for title in ("errors", "warnings"):
        if whole[title]:
            print(f"\nlast {title}")
            for event in whole[title]:
                _print_event(event)
    if document.get("exit"):
        _print_fields("exit", document["exit"])
    _print_fields("", {key: document[key] for key in _ordered(document)})
    for section in _SECTIONS[1:]:
        if document.get(section):
            _print_fields(section, document[section])
    if len(whole["attempts"]) > 1:
        _print_lines("attempts", (f"{one['attempt']}  {_pairs(one, 'attempt')}" for one in whole["attempts"]))
    if whole["seals"]:
        _print_lines("producers that ended", map(_seal, whole["seals"]))
    _print_lines("files", _files(whole))


def _files(whole: dict[str, Any]) -> Iterable[str]:
    for file in whole["files"]:
        kind = "edit" if MARK in file["path"] else "part" if file["part"] else "another"
        note = "" if len(whole["files"]) == 1 else f"  ({kind})"
        yield file["path"] + ("  (shown)" if file["shown"] and note else note)
    for log in whole["logs"]:
        problem = whole["unread"].get(log)
        yield f"{log}  (not searched for errors: {problem})" if problem else log


def _ordered(document: dict[str, Any]) -> list[str]:
    known = [name for name in FIELDS if document.get(name) not in (None, "", [], {})]
    own = ("experiment_id", "run_id", "status", *_SECTIONS)
    return [name for name in (*known, *(name for name in document if name not in FIELDS)) if name not in own]


def _print_lines(title: str, lines: Iterable[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {printable(line)}")


def _print_fields(title: str, fields: Any) -> None:
    print(f"\n{title}" if title else "")
    named = flat(fields, deep=True) if isinstance(fields, dict) else {"": fields}
    width = max((len(printable(name)) for name in named), default=0)
    for name, value in named.items():
        if isinstance(value, str) and "\n" in value:  # a traceback
            print(f"  {printable(name)}")
            _print_block(value)
        elif value not in ({}, []):
            print(_wrapped(cell(value), f"  {printable(name):<{width}}  "))


def _print_event(event: Mapping[str, Any]) -> None:
    """Print an event as one line; what has several lines, a traceback, below it."""
    fields = {key: value for key, value in event.items() if key not in _LINE_FIELDS}
    blocks = [value for value in (event.get("message"), *fields.values()) if isinstance(value, str) and "\n" in value]
    parts = [str(event["message"])] if event.get("message") and event["message"] not in blocks else []
    parts += [f"{key}={cell(value)}" for key, value in fields.items() if value not in blocks]
    head = f"{event.get('time', '')} [{event.get('level')}] {event.get('event', '')}"
    print(_wrapped(printable(head + (": " + ", ".join(parts) if parts else "")), "  "))
    for block in blocks:
        _print_block(block)


def _print_block(text: str) -> None:
    print("\n".join(f"    {printable(line)}" for line in text.splitlines()))


def _wrapped(text: str, lead: str) -> str:
    """Return a line with its continuations below its own beginning; a pipe gets it as one line."""
    if not sys.stdout.isatty() or not text:
        return (lead + text).rstrip()
    width = max(40, shutil.get_terminal_size().columns)
    indent = " " * min(len(lead) + 2, width // 2)
    return "\n".join(textwrap.wrap(text, width, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False))


def _seal(seal: Mapping[str, Any]) -> str:
    shed = seal.get("shed")
    lost = (
        ", ".join(f"{cell(count)} {level}" for level, count in shed.items()) if isinstance(shed, dict) else cell(shed)
    )
    counts = f"emitted {cell(seal.get('emitted'))}, written {cell(seal.get('written'))}, shed {lost or 0}"
    return f"{cell(seal.get('producer'))}  {counts}, end: {cell(seal.get('end'))}"


def _pairs(mapping: Mapping[str, Any], leave_out: str) -> str:
    return ", ".join(f"{key} {cell(value)}" for key, value in mapping.items() if key != leave_out and value is not None)
