"""What a power failure leaves: the bytes of files and the names in directories that were not safe yet.

The real files hold what every process sees, as the page cache does. Beside each, a `FileBytes` knows what the device
holds and every version that a page of it had since the last sync; a `Names` knows what each call changed in a
directory since that was synced. After a crash any version of each page, any size the file had, and any subset of the
changes of names may be there, each independently of the others.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

# Smaller than a real page, so that small writes tear too.
PAGE = 64


class Directory:
    """Stands for a directory where a name may lead to either."""


@dataclass(eq=False)
class FileBytes:
    """One inode; `at` is where its real file is now, under its name or, once that went, under one that is kept."""

    at: Path
    disk: bytes
    size: int = 0
    dirty: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    is_lost: bool = False  # the cache shows what a failed sync did not write

    def changed(self, fd: int, start: int, end: int) -> None:
        """Note that the bytes from `start` to `end` of the file were written, or cut off."""
        first = start // PAGE
        data = os.pread(fd, max(0, end - first * PAGE) + PAGE, first * PAGE)
        for page in range(first, -(-end // PAGE)):
            at = (page - first) * PAGE
            self.dirty.setdefault(page, []).append(data[at : at + PAGE])
        self.size = os.fstat(fd).st_size
        self.sizes.append(self.size)

    def synced(self) -> None:
        """Note that all of it is safe."""
        self.disk = self._made({page: versions[-1] for page, versions in self.dirty.items()}, self.size)
        self._clean()

    def sync_failed(self, chance: random.Random) -> None:
        """Some pages were written; all are clean now, so that no later sync writes the others."""
        if self.dirty:
            self.disk, self.is_lost = self.left(chance), True
        self._clean()

    def _clean(self) -> None:
        self.dirty.clear()
        self.sizes.clear()

    def left(self, chance: random.Random) -> bytes:
        """Return what a power failure now could leave."""
        kind = chance.randrange(4)
        if kind == 0 or not self.sizes:
            return self.disk
        if kind == 1:
            return self._made({page: versions[-1] for page, versions in self.dirty.items()}, self.size)
        picked = {page: chance.choice([self._page(page), *versions]) for page, versions in self.dirty.items()}
        return self._made(picked, chance.choice([len(self.disk), *self.sizes]))

    def reread(self) -> bytes:
        """Return what the file shows once its clean pages are read from the device again."""
        return self._made({page: versions[-1] for page, versions in self.dirty.items()}, self.size)

    def _page(self, page: int) -> bytes:
        return self.disk[page * PAGE : (page + 1) * PAGE]

    def _made(self, pages: dict[int, bytes], size: int) -> bytes:
        out = bytearray(self.disk[:size].ljust(size, b"\0"))  # a hole reads as zeros
        for page, content in pages.items():
            out[page * PAGE : (page + 1) * PAGE] = content.ljust(PAGE, b"\0")
        return bytes(out[:size].ljust(size, b"\0"))


Node: TypeAlias = FileBytes | Directory | None


@dataclass(eq=False)
class Change:
    """What one call did to names of one directory."""

    before: dict[Path, Node]
    after: dict[Path, Node]


class Names:
    """The unsafe changes of each directory, in their order."""

    def __init__(self) -> None:
        self._pending: dict[Path, list[Change]] = {}

    def change(self, directory: Path, before: dict[Path, Node], after: dict[Path, Node]) -> None:
        self._pending.setdefault(directory, []).append(Change(before, after))

    def synced(self, directory: Path) -> None:
        for change in self._pending.pop(directory, []):
            for path, node in change.before.items():
                was_kept = isinstance(node, FileBytes) and node.at != path and node.at.name.startswith(".unlinked-")
                if was_kept and isinstance(node, FileBytes):
                    node.at.unlink(missing_ok=True)

    def left(self, chance: random.Random) -> dict[Path, Node]:
        """Return what each unsafe name may lead to after a power failure."""
        found: dict[Path, Node] = {}
        for changes in self._pending.values():
            for change in reversed(changes):
                found |= change.before
            keep = chance.choice([0.0, 0.5, 0.5, 1.0])
            for change in changes:
                if chance.random() < keep:
                    found |= change.after
        return found


def put(names: dict[Path, Node], files: Iterable[FileBytes], chance: random.Random) -> None:
    """Make the real files what the device could hold; each inode keeps its number."""
    aside: dict[FileBytes, Path] = {}
    gone = {path for path, node in names.items() if isinstance(node, FileBytes) and not node.at.exists()}
    names |= dict.fromkeys(gone)  # somebody else removed it, for good
    for node in {node for node in names.values() if isinstance(node, FileBytes)}:
        aside[node] = node.at.with_name(f".crash-{len(aside)}")
        os.link(node.at, aside[node])
    for node in files:
        if (node.sizes or node.is_lost) and node.at.exists():
            (aside.get(node) or node.at).write_bytes(node.left(chance))
    for path in names:
        if not path.is_dir():
            path.unlink(missing_ok=True)
    for path, node in names.items():
        if isinstance(node, FileBytes):
            os.link(aside[node], path)
    for path in aside.values():
        path.unlink()
    for path, node in names.items():
        if node is None and path.is_dir():
            shutil.rmtree(path)
