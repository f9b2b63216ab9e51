"""Disks that fill and empty: a file system in memory under each directory, in a mount namespace of the soak's own.

A disk is full when its size is set to what is on it, and empty when it has its size back: nothing has to be written.
Nobody outside of the namespace sees the mounts, and they go with its last process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

_INSIDE = "SOAK_INSIDE"
_SIZE_BYTES = 6 << 30
_PAGE_BYTES = 4096


def in_namespace() -> tuple[list[str], str]:
    """Return what to put before a command so that it may mount disks that nobody else sees, or why that cannot be."""
    problem = ""
    for options in (["--mount"], ["--map-root-user", "--mount"]):
        command = ["unshare", *options, "--propagation", "private"]
        try:
            tried = subprocess.run(
                [*command, "mount", "-t", "tmpfs", "soak", "/tmp"], capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            return [], str(error)
        if tried.returncode == 0:
            return command, ""
        problem = tried.stderr.strip() or f"unshare ended with {tried.returncode}"
    return [], problem


def enter_namespace(*arguments: str) -> str:
    """Start this program again in a mount namespace of its own, and not return; return why that is not possible."""
    if _INSIDE in os.environ:
        return os.environ[_INSIDE]
    command, problem = in_namespace()
    if command:
        command += [sys.executable, sys.argv[0], *arguments]
        os.execvpe(command[0], command, os.environ | {_INSIDE: ""})
    return problem


class Disk:
    """A file system in memory that can be made full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(mode=0o700, parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES},mode=700", "soak", str(path))

    def fill(self) -> None:
        while True:
            found = os.statvfs(self._path)
            used = (found.f_blocks - found.f_bfree) * found.f_bsize
            # Somebody may have written since: the kernel refuses a size below what is used.
            with contextlib.suppress(subprocess.CalledProcessError):
                self._resize(max(used, _PAGE_BYTES))
                return

    def empty(self) -> None:
        self._resize(_SIZE_BYTES)

    def remove(self) -> None:
        _run("umount", "--lazy", str(self._path))

    def _resize(self, size: int) -> None:
        # With the source named, mount does not look up options that only the machine's root may give again.
        _run("mount", "-t", "tmpfs", "-o", f"remount,size={size}", "soak", str(self._path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
