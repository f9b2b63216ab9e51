"""How a producer's process ended, as far as the kernel tells somebody who is not its parent.

* Its exit status: from a descriptor of the process that was opened while it lived (pidfd; Linux 6.15 keeps the status
  there), else from /proc as long as the parent has not fetched it.
* Whether the OOM killer ended it: its cgroup counts such ends, and the producer said how many there were at its start.
* Whether its node went down: then the boot that it spoke of is not this one.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import struct
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeAlias

from logferry import cgroup
from logferry_agent.processes import boot_id, is_running, zombie_status

# linux/pidfd.h: PIDFD_GET_INFO, and struct pidfd_info as far as Linux 6.15 has it: mask first, exit code last.
_GET_INFO, _INFO_EXIT = 0xC040FF0B, 8
_INFO = struct.Struct("Q52xi")
# Of all descriptors, running logs may take a half and connections as many as there are producers.
_SHARE = 8

Process: TypeAlias = tuple[int, int]


class Exits:
    """Keeps a descriptor of each living producer's process; several producers of one process share it."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = cgroup.ROOT) -> None:
        self._proc, self._cgroups = proc, cgroups
        self._descriptors: dict[Process, int] = {}
        self._ended = select.epoll() if hasattr(select, "epoll") else None
        self._watched: dict[Process, tuple[str, ...]] = {}  # a set of one takes four times as much
        self._of: dict[int, Process] = {}  # by descriptor, until the process ends
        self._living: set[str] = set()
        self._left = 0  # goes up whenever some are not among the living any more
        self._all_lived = -1, -1  # how many had come and left when all were last seen to live
        self._blamed: dict[int, int] = {}  # cgroup → the last of its kills that is some producer's end

    def watch(self, producer: str, about: dict[str, Any]) -> None:
        """Look after a producer's process from now on."""
        process = _process(about)
        if process in self._descriptors:
            if producer not in self._watched[process]:
                self._watched[process] += (producer,)
            if self._descriptors[process] in self._of:
                self._living.add(producer)
        elif len(self._descriptors) < resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE:
            try:
                fd = os.pidfd_open(process[0])
            except (OSError, AttributeError, OverflowError, ValueError):  # gone, or no Linux
                return
            if is_running(about, self._proc):  # asked after the opening: it is the producer's process for sure
                self._descriptors[process], self._watched[process] = fd, (producer,)
                # Without its start, which says that it is the same process, the number alone is not certain.
                if self._ended and process[1]:
                    self._ended.register(fd, select.EPOLLIN)
                    self._of[fd] = process
                    self._living.add(producer)
            else:
                os.close(fd)

    def forget(self, producer: str, about: dict[str, Any]) -> None:
        process = _process(about)
        self._living.discard(producer)
        self._left += 1
        if process not in self._descriptors:
            return
        self._watched[process] = tuple(name for name in self._watched[process] if name != producer)
        if not self._watched[process]:
            fd = self._descriptors.pop(process)
            self._of.pop(fd, None)
            os.close(fd)
            del self._watched[process]

    def living(self) -> set[str]:
        """Return the producers whose processes certainly live: only those that ended since are work."""
        if self._ended:
            for fd, _ in self._ended.poll(0):
                self._ended.unregister(fd)
                self._living.difference_update(self._watched[self._of.pop(fd)])
                self._left += 1
        return self._living

    def all_live(self, producers: AbstractSet[str], added: int) -> bool:
        """Say whether all of them certainly live; `added` goes up with each that becomes one of them."""
        living, changes = self.living(), (added, self._left)
        # A thousand names are work several times a second, and the same where nobody came or left since.
        if self._all_lived != changes and not producers <= living:
            return False
        self._all_lived = changes
        return True

    def close(self) -> None:
        if self._ended:
            self._ended.close()
        for fd in self._descriptors.values():
            os.close(fd)
        self._descriptors.clear()

    def runs_on(self, about: dict[str, Any]) -> bool:
        """Say whether the process lives although its spool is free: another program took its place."""
        return bool(about.get("pid_start")) and is_running(about, self._proc)

    def how(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return `code` or `signal`, and `reason` ("oom", "node", "exec"), as far as they are known."""
        boot = boot_id(self._proc)
        if boot and about.get("boot_id") not in {boot, None, ""}:
            return {"reason": "node"}
        if self.runs_on(about):
            return {"reason": "exec"}
        status = self._status(about)
        how = {} if status is None else _told(os.waitstatus_to_exitcode(status))
        if how.get("signal", "SIGKILL") == "SIGKILL" and "code" not in how and self._was_oom(about):
            how["reason"] = "oom"
        return how

    def _status(self, about: dict[str, Any]) -> int | None:
        fd = self._descriptors.get(_process(about))
        if fd is not None:
            info = bytearray(_INFO.pack(_INFO_EXIT, 0))
            try:
                fcntl.ioctl(fd, _GET_INFO, info)
            except OSError:  # an older kernel
                pass
            else:
                mask, status = _INFO.unpack(info)
                if mask & _INFO_EXIT:
                    return int(status)
        return zombie_status(about, self._proc)

    def _was_oom(self, about: dict[str, Any]) -> bool:
        """Say whether the cgroup counts a kill since the producer's start that is no other producer's end."""
        if "oom_kills" not in about or "cgroup" not in about:
            return False
        found = cgroup.at(Path(about["cgroup"]), self._cgroups)
        if found is None or found.inode != about.get("cgroup_inode"):
            return False
        last: int = max(about["oom_kills"], self._blamed.get(found.inode, 0))
        if found.oom_kills <= last:
            return False
        self._blamed[found.inode] = last + 1
        return True


def _process(about: dict[str, Any]) -> Process:
    return about["pid"], about.get("pid_start") or 0


def _told(code: int) -> dict[str, Any]:
    if code >= 0:
        return {"code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:  # a real-time signal
        return {"signal": f"signal {-code}"}
