"""When a running log is rotated, what the files of a run are called, and which of them may go. No I/O.

Names::

    <host>[~<variant>].jsonl                        the file that lines are written to
    <host>[~<variant>].<UTC>-<n>.jsonl[.zst|.gz]    rotated; n counts up and is what orders them, because clocks jump
    <host>[~<variant>].log, <host>….<UTC>-<n>.log   the same for the text rendering
    <host>.pruned                                   what was removed by retention, see prune.py

A variant above 1 begins when a name is taken by a file that is not ours, or ours was removed or truncated by somebody.
Files of a host in the order of their lines: by variant, rotated ones by n, then the current one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

SUFFIXES = {"jsonl": ".jsonl", "text": ".log"}
COMPRESSED = {"zstd": ".zst", "gzip": ".gz"}
_NAME = re.compile(
    r"(?P<host>[^.].*?)(~(?P<variant>\d+))?(\.(?P<stamp>\d{8}T\d{6}Z)-(?P<count>\d+))?"
    r"(?P<suffix>\.jsonl|\.log)(?P<packed>\.zst|\.gz)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000


class LogName(NamedTuple):
    """A file's name, taken apart; sorts as its lines do."""

    host: str
    variant: int
    current: bool
    number: int
    name: str
    kind: str
    packed: str

    @property
    def unpacked_name(self) -> str:
        return self.name.removesuffix(self.packed)


class LogFile(NamedTuple):
    """A file that retention may judge; `active` is one that lines may still be written to."""

    path: Path
    bytes: int
    modified_ns: int
    active: bool
    name: LogName


def parse_name(name: str) -> LogName | None:
    """Take a file's name apart; None for one that is not of a running log."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind = "jsonl" if found["suffix"] == ".jsonl" else "text"
    number, current = int(found["count"] or 0), found["stamp"] is None
    return LogName(found["host"], int(found["variant"] or 1), current, number, name, kind, found["packed"] or "")


def in_order(names: Iterable[str], kind: str = "jsonl") -> list[LogName]:
    """Return the running logs among `names`, in order; one that was also left uncompressed (by a crash) once."""
    logs = [found for name in names if (found := parse_name(name)) and found.kind == kind]
    unpacked = {log.name for log in logs if not log.packed}
    return sorted(log for log in logs if not log.packed or log.unpacked_name not in unpacked)


def current_name(host: str, variant: int, kind: str) -> str:
    return f"{host}{f'~{variant}' if variant > 1 else ''}{SUFFIXES[kind]}"


def rotated_name(current: str, now_ns: int, count: int) -> str:
    stem, _, suffix = current.rpartition(".")
    stamp = (_EPOCH + timedelta(seconds=max(0, now_ns) // _SECOND)).strftime("%Y%m%dT%H%M%SZ")
    return f"{stem}.{stamp}-{count}.{suffix}"


def is_due(size: int, created_ns: int, now_ns: int, max_bytes: int, max_age_s: float | None) -> bool:
    """Say whether a file of `size` is to be rotated; an empty one never is, nor one from the future for its age."""
    if size >= max_bytes:
        return True
    return bool(size) and max_age_s is not None and now_ns - created_ns >= max_age_s * _SECOND


def expired(
    files: Iterable[LogFile], now_ns: int, keep_files: int | None, keep_age_s: float | None, keep_bytes: int | None
) -> list[LogFile]:
    """Return the files that retention removes, oldest first.

    Args:
        files: all files of a home that are this host's.
        now_ns: the time now; a file from the future is of age zero.
        keep_files: how many files of a run, host and kind stay, active ones among them; None: all.
        keep_age_s: how long a file stays after its last change.
        keep_bytes: how large all of them together may be.

    """
    candidates = sorted(files, key=lambda file: (file.modified_ns, file.path.parent, file.name))
    gone = {file.path for file in candidates if not file.active and _too_old(file, now_ns, keep_age_s)}
    gone |= _too_many(candidates, keep_files)
    total = sum(file.bytes for file in candidates if file.path not in gone)
    for file in candidates:
        if keep_bytes is None or total <= keep_bytes:
            break
        if not file.active and file.path not in gone:
            gone.add(file.path)
            total -= file.bytes
    return [file for file in candidates if file.path in gone]


def _too_old(file: LogFile, now_ns: int, keep_age_s: float | None) -> bool:
    return keep_age_s is not None and now_ns - file.modified_ns > keep_age_s * _SECOND


def _too_many(files: Iterable[LogFile], keep_files: int | None) -> set[Path]:
    if keep_files is None:
        return set()
    groups: dict[tuple[Path, str, str], list[LogFile]] = {}
    for file in files:
        groups.setdefault((file.path.parent, file.name.host, file.name.kind), []).append(file)
    newest_last = (sorted(group, key=lambda file: file.name) for group in groups.values())
    return {file.path for group in newest_last for file in group[: -keep_files or None] if not file.active}
