"""Notifications about changed files: a hint that makes the next look sooner, and nothing else depends on it.

The kernel drops notifications when its queue is full, refuses watches beyond its limit, and knows nothing of what
other machines write on a network file system; the scan finds all that.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from logferry.layout import filesystem_type, is_network

# Our own reading opens and closes files too: those notifications would never end.
_WRITES = frozenset({"created", "modified", "moved", "closed"})
# Beyond this a scan is cheaper than looking at each path.
_MAX_HINTS = 10_000


class Watch(FileSystemEventHandler):
    """Gathers the paths that were written to below a directory, and calls `wake` for the first of them."""

    def __init__(self, root: str, wake: Callable[[], None]) -> None:
        self._root = root
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None

    def start(self) -> str:
        """Begin to watch; return why that is not possible, or the empty string."""
        self._watched = self._identity()
        kind = filesystem_type(Path(self._root))
        if is_network(kind):
            return f"{kind} does not say what other machines write"
        # It is told of a directory that it found already: its own race, without harm, and nothing that users can mend.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer = Observer()
        try:
            observer.schedule(self, self._root, recursive=True)
            observer.start()
        except OSError as error:
            observer.unschedule_all()
            limits = " (limits: /proc/sys/fs/inotify)" if error.errno in {errno.ENOSPC, errno.EMFILE} else ""
            return f"{error.strerror or error}{limits}"
        self._observer = observer
        return ""

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def holds(self) -> bool:
        """Say whether the directory is the one that `start` was told of; a new one of its name needs a new start."""
        return self._watched == self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._root)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.event_type not in _WRITES or (event.is_directory and event.event_type == "modified"):
            return
        path = event.dest_path or event.src_path
        with self._lock:
            first = not self._paths
            self._paths.add(os.fsdecode(path))
        if first:
            self._wake()

    def drain(self) -> set[str] | None:
        """Return the paths gathered since the last call, or None where they are too many."""
        with self._lock:
            paths, self._paths = self._paths, set()
        return paths if len(paths) <= _MAX_HINTS else None
