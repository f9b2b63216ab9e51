"""Lines of running logs as they come: through rotation, compression and new runs.

Names are the order (see rotation.py): when a host's file is no longer the current one, the first rotated name that was
not read yet is the file that is open here; it is read to its end, then the ones after it. Only whole lines are given.
Polled, because a shared file system tells nobody what another node writes; one poll costs a stat per directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from logferry_agent.content import MAX_LINE_BYTES, UNREADABLE, blocks, too_long
from logferry_agent.logset import RunLogs, say_unreadable
from logferry_agent.rotation import LogName, in_order

_READ_BYTES = 1 << 20
# Stands for the beginning of a line that is too long: what begins with it is no UTF-8, so no line.
_NO_LINE = b"\xff"


class HostTail:
    """The files of one host in one run's directory, read onwards."""

    def __init__(self, directory: Path, host: str) -> None:
        self._directory, self._host = directory, host
        self._read: set[str] = set()  # names, uncompressed, of files that were read to their end
        self._current: LogName | None = None
        self._fd: int | None = None
        self._rest = b""

    def skip_to_end(self, names: Iterable[LogName]) -> None:
        """Begin after what is there now."""
        for log in names:
            if log.current:
                self._open(log)
        self._read |= {log.unpacked_name for log in names if log.name != (self._current and self._current.name)}
        if self._fd is not None:
            end = os.lseek(self._fd, 0, os.SEEK_END)
            start = max(0, end - _READ_BYTES)
            last = os.pread(self._fd, end - start, start).rfind(b"\n")
            os.lseek(self._fd, start + last + 1, os.SEEK_SET)

    def poll(self, names: list[LogName]) -> Iterator[bytes]:
        """Yield the lines that are new, in blocks; `names` are the files that are there now, in order."""
        yield from self._more()
        pending = [log for log in names if log.unpacked_name not in self._read]
        if self._current and not self._is_current():
            # What was written between the read above and the rename.
            yield from self._more()
            self._finish(pending)
            pending = [log for log in pending if log.unpacked_name not in self._read]
        for log in pending:
            if self._current is not None and log.name == self._current.name:
                continue
            if not log.current:
                yield from self._whole(log)
            else:
                self._open(log)
                yield from self._more()

    def _whole(self, log: LogName) -> Iterator[bytes]:
        try:
            yield from blocks(self._directory / log.name)
        except FileNotFoundError:  # compressed meanwhile: the next poll has its new name
            return
        except UNREADABLE as error:
            say_unreadable(self._directory / log.name, error)
        self._read.add(log.unpacked_name)

    def _is_current(self) -> bool:
        try:
            named = os.lstat(self._directory / (self._current.name if self._current else ""))
        except FileNotFoundError:
            return False
        return self._fd is not None and named.st_ino == os.fstat(self._fd).st_ino

    def _finish(self, pending: list[LogName]) -> None:
        variant = self._current.variant if self._current else 1
        rotated = next((log for log in pending if log.variant == variant and not log.current), None)
        if rotated:
            self._read.add(rotated.unpacked_name)
        self.close()

    def _open(self, log: LogName) -> None:
        if self._current is not None:
            self._read.add(self._current.name)
        self.close()
        path = self._directory / log.name
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            say_unreadable(path, error)
            self._read.add(log.name)
            return
        self._current = log
        self._read.discard(log.name)

    def _more(self) -> Iterator[bytes]:
        while self._fd is not None and (data := os.read(self._fd, _READ_BYTES)):
            end = data.rfind(b"\n") + 1
            if end:
                yield self._rest + data[:end]
                self._rest = b""
            self._rest += data[end:]
            if len(self._rest) > MAX_LINE_BYTES and self._current:
                path = self._directory / self._current.name
                say_unreadable(path, too_long(path))
                self._rest = _NO_LINE

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._current, self._rest = None, None, b""


class RunTail:
    """All hosts of one run."""

    def __init__(self, run: RunLogs, *, from_start: bool) -> None:
        self.run = run
        self._hosts: dict[str, HostTail] = {}
        self._names: dict[str, list[LogName]] = {}
        self._listed_ns = self._seen_ns = -1
        if not from_start:
            self._list()
            for host, names in self._names.items():
                self._hosts[host] = HostTail(run.path, host)
                self._hosts[host].skip_to_end(names)

    def poll(self) -> list[Iterator[bytes]]:
        """Return the new lines of each host, in blocks."""
        self._list()
        return [
            self._hosts.setdefault(host, HostTail(self.run.path, host)).poll(names)
            for host, names in self._names.items()
        ]

    def _list(self) -> None:
        try:
            changed_ns = self.run.path.stat().st_mtime_ns
            if changed_ns == self._listed_ns:
                return
            names = os.listdir(self.run.path)
        except FileNotFoundError:
            return
        # Two changes within one tick of the file system's clock look like one: the second listing is believed.
        self._listed_ns = changed_ns if changed_ns == self._seen_ns else -1
        self._seen_ns = changed_ns
        self._names = {}
        for log in in_order(names):
            self._names.setdefault(log.host, []).append(log)

    def close(self) -> None:
        for tail in self._hosts.values():
            tail.close()
