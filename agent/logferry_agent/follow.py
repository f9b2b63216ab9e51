"""Lines of running logs as they come: through rotation, compression and new runs.

Names are the order (see rotation.py): when a host's file is no longer the current one, the first rotated name that was
not read yet is the file that is open here; it is read to its end, then the ones after it. Only whole lines are given.
Polled, because a shared file system tells nobody what another node writes; one poll costs a stat per directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from logferry_agent.content import MAX_LINE_BYTES, UNREADABLE, backwards_from, blocks, end_of_lines, too_long
from logferry_agent.logset import Files, RunLogs, host_files, say_unreadable, told
from logferry_agent.rotation import LogName, in_order

_READ_BYTES = 1 << 20
# Stands for the beginning of a line that is too long: what begins with it is no UTF-8, so no line.
_NO_LINE = b"\xff"
# So often a file is opened anew that was rotated meanwhile; what is missed then comes with the next poll.
_ROUNDS = 3


def _opened(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


class HostTail:
    """The files of one host in one run's directory, read onwards."""

    def __init__(self, run: RunLogs) -> None:
        self._run = run
        self._read: set[str] = set()  # names, uncompressed, of files that were read to their end
        self._current: LogName | None = None
        self._fd: int | None = None
        self._rest = b""

    def skip_to_end(self, names: list[LogName]) -> Files:
        """Begin after what is there now; return that, from the last file to the first."""
        self._read |= {log.unpacked_name for log in names if not log.current}
        missed = [one for log in names if log.current for one in self._begin(log)]
        # A current file that is gone is among those missed, and another may come by its name.
        before = [*(log for log in names if log != self._current and log.unpacked_name in self._read), *missed]
        self._read |= {log.unpacked_name for log in before}
        files = host_files(self._run, before, say_unreadable, newest_first=True)
        if self._fd is None or self._current is None:
            return files
        path, end = self._run.path / self._current.name, end_of_lines(self._fd)
        os.lseek(self._fd, end, os.SEEK_SET)
        # By its descriptor: though it is renamed meanwhile, what was there and what comes are of one file.
        content = told(path, backwards_from(self._fd, end, path), say_unreadable)
        return chain([(self._current, content)], files)

    def poll(self, names: list[LogName]) -> Iterator[bytes]:
        """Yield the lines that are new, in blocks; `names` are the files that are there now, in order."""
        yield from self._more()
        pending = [log for log in names if log.unpacked_name not in self._read]
        if self._current and not self._is_current():
            # What was written between the read above and the rename.
            yield from self._more()
            self._finish(self._current)
            pending = [log for log in pending if log.unpacked_name not in self._read]
        for log in pending:
            if self._current is not None and log.name == self._current.name:
                continue
            if not log.current:
                yield from self._whole(log)
            else:
                for one in self._begin(log):
                    yield from self._whole(one)
                yield from self._more()

    def _whole(self, log: LogName) -> Iterator[bytes]:
        try:
            yield from blocks(self._run.path / log.name)
        except FileNotFoundError:  # compressed meanwhile: the next poll has its new name
            return
        except UNREADABLE as error:
            say_unreadable(self._run.path / log.name, error)
        self._read.add(log.unpacked_name)

    def _is_current(self) -> bool:
        return self._current is not None and self._is_open(self._current)

    def _is_open(self, log: LogName) -> bool:
        try:
            named = os.lstat(self._run.path / log.name)
        except FileNotFoundError:
            return False
        return self._fd is not None and named.st_ino == os.fstat(self._fd).st_ino

    def _unread(self, current: LogName) -> list[LogName]:
        """Return what is listed now of the files that had the name of a current one before."""
        listed = self._run.files().get(current.host, [])
        rotated = [log for log in listed if log.variant == current.variant and not log.current]
        return [log for log in rotated if log.unpacked_name not in self._read]

    def _finish(self, current: LogName) -> None:
        """Have done with the file that is open, whatever its name is by now."""
        unread = self._unread(current)
        ours = next(filter(self._is_open, unread), unread[0] if unread else None)  # compressed, it is another file
        if ours:
            self._read.add(ours.unpacked_name)
        self.close()

    def _begin(self, log: LogName) -> list[LogName]:
        """Open a current file; return those that were rotated since it was listed, which have the lines before it."""
        missed: list[LogName] = []
        for _ in range(_ROUNDS):  # some file systems never tell a name and a descriptor the same inode
            self._open(log)
            missed = self._unread(log)
            # Rotated before they were listed, it would be one of them.
            if self._fd is None or self._is_current():
                break
        return missed

    def _open(self, log: LogName) -> None:
        if self._current is not None:
            self._read.add(self._current.name)
        self.close()
        path = self._run.path / log.name
        try:
            self._fd = _opened(path)
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
                path = self._run.path / self._current.name
                say_unreadable(path, too_long(path))
                self._rest = _NO_LINE

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._current, self._rest = None, None, b""


class RunTail:
    """All hosts of one run."""

    def __init__(self, run: RunLogs) -> None:
        self.run = run
        self._hosts: dict[str, HostTail] = {}
        self._names: dict[str, list[LogName]] = {}
        self._listed_ns = self._seen_ns = -1

    def skip_to_end(self) -> list[Files]:
        """Begin after what is there now; return that of each host, from the last file to the first."""
        self._list()
        return [self._host(host).skip_to_end(names) for host, names in self._names.items()]

    def poll(self) -> list[Iterator[bytes]]:
        """Return the new lines of each host, in blocks."""
        self._list()
        return [self._host(host).poll(names) for host, names in self._names.items()]

    def _host(self, host: str) -> HostTail:
        return self._hosts.setdefault(host, HostTail(self.run))

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
