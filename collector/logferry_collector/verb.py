"""What the verbs that ask the store have in common: opening it, and turning its errors into what the user sees."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logferry.cli import NO, Parser, UsageError, printable, say, settings_of
from logferry_collector.frames import MissingPackageError
from logferry_collector.query import Reader, open_reader
from logferry_collector.records import Reject
from logferry_collector.results import Results, UnknownRunError
from logferry_collector.store import QueryError, StoreDownError, StoreRefusedError
from logferry_collector.where import WhereError


def json_option(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def count(text: str) -> int:
    """Return an option's value that says how many at most."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!a} is no whole number; it says how many rows at most")
    return int(text)


def answer(options: argparse.Namespace, question: Callable[[Reader], int]) -> int:
    """Open the store in force, answer a question from it, return the exit code."""
    try:
        with open_reader(settings_of(options)) as reader:
            code = question(reader)
            if reader.stale:
                complain(f"what is new could not be taken in: {reader.stale}")
            return code
    except (StoreRefusedError, QueryError, WhereError, MissingPackageError) as error:
        raise UsageError(str(error)) from error
    except (StoreDownError, UnknownRunError) as error:
        complain(str(error))
        return NO


def doubt(found: Results, *, nothing_found: bool) -> None:
    """Say which values of a condition may be misspelt."""
    for said in found.doubts(nothing_found=nothing_found):
        complain(said)


@contextmanager
def into(path: Path | None) -> Iterator[None]:
    """Write a file that the user named; say what is wrong with it."""
    try:
        yield
    except OSError as error:
        if path is None:
            raise
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def refusal(path: str, reject: Reject) -> str:
    """Return one line that says what was refused and why, as compilers do it."""
    return f"{path}{f':{reject.line}' if reject.line else ''}: {reject.fault.value}: {reject.reason}"


def plain(path: str, reject: Reject) -> dict[str, Any]:
    """Return what JSON says of a reject."""
    line = reject.line or None
    return {"path": path, "line": line, "fault": reject.fault.value, "reason": reject.reason}


def complain(message: str) -> None:
    say(f"logferry: {printable(message)}")
