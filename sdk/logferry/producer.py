"""One process's part in a run: its spool, its lock, its buffer and its shipper, opened and closed as one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from logferry import cgroup, spool
from logferry.buffer import Buffer, frame
from logferry.diagnostics import complain
from logferry.events import END, RESULT, SYSTEM, pack_event
from logferry.hot import Hot
from logferry.identity import boot_id, process_start_ticks
from logferry.killpoints import passed
from logferry.layout import LayoutError, NodeDir, is_own_node_dir, prepare_node_dir
from logferry.logger import new_packer
from logferry.settings import Settings

# The thread ends within a moment, unless a file system hangs.
_STOP_S = 0.1
_NOWHERE = "inproc://nowhere"


class Membership(NamedTuple):
    """What is constant for a producer, besides its process."""

    experiment_id: str
    run_id: str
    host: str
    rank: int | None
    home: Path
    level: int
    started_ns: int
    inherited: bool = False  # the run is the one in which this process was started


class Producer:
    """Takes the calls of `hot` from now on, and ships them.

    Never raises: where no spool can be allocated, events are kept in memory, and one line on stderr says so.
    """

    def __init__(self, name: str, member: Membership, settings: Settings, hot: Hot, *, owner: bool) -> None:
        from logferry.shipper import Shipper  # noqa: PLC0415 - ZeroMQ takes long to import, and readers log nothing

        self.name, self.pid = name, os.getpid()
        self.in_memory = False
        self._lock_fd: int | None = None
        hot.busy = False
        hot.pack = new_packer()
        about = _about(member, settings, owner)
        node = NodeDir(settings.node_dir)
        where = f"events are kept in {node.spool} (in a container: bind this directory)"
        directory = None
        try:
            node = prepare_node_dir(settings.node_dir)
            directory, self._lock_fd = spool.create(node.spool, name, about)
            self._buffer = Buffer(directory, settings.spool_bytes, hot)
        except OSError as error:
            if directory is not None:
                with contextlib.suppress(OSError):
                    spool.remove(directory)
            self._drop_lock()
            self.in_memory = True
            complain("spool", f"no spool ({_reason(error)}): events are kept in memory until an agent takes them")
            about["spool"] = "memory"
            where = "events are kept in memory and end with this process"
            self._buffer = Buffer(None, settings.spool_bytes, hot)
        # Whoever made the directory before us would be the agent that gets our events.
        own = is_own_node_dir(node.path)
        address = settings.agent or (_address(node) if own else _NOWHERE)
        self.shipper = Shipper(self._buffer, name, about, address, member.level, where, node)
        self.shipper.start()

    def put(self, kind: str, time_ns: int, fields: dict[str, Any]) -> None:
        """Write one of the SDK's own records (`RESULT`, `END`) into the spool."""
        self._buffer.append(SYSTEM, frame(pack_event(time_ns, SYSTEM, kind, None, fields)))

    def result(self, time_ns: int, document: dict[str, Any]) -> None:
        self.put(RESULT, time_ns, document)

    def counts(self) -> dict[str, int]:
        """Return what the shipper knows: emitted, spooled, durable, written, shed."""
        emitted = self._buffer.count()
        return {
            "emitted": emitted,
            "durable": self.shipper.durable,
            "written": self.shipper.written,
            "spooled": 0 if self.in_memory else emitted,
            "shed": sum(self._buffer.head.shed_counts().values()),
        }

    def put_end(self, time_ns: int, end: dict[str, Any]) -> None:
        """Write the last record: how the process ended."""
        self._buffer.report_gap()
        self.put(END, time_ns, end)
        passed("finish.ended")
        self._buffer.settle()

    def leave(self, deadline: float) -> bool:
        """Ship until `deadline` (monotonic), and leave the spool open for what the process still logs.

        It is adopted once the process is gone. Returns False where there is none: events in memory go with the process.
        """
        if not self.in_memory:
            self.shipper.stop(max(_STOP_S, deadline - monotonic()))
        return not self.in_memory

    def close(self, deadline: float) -> None:
        """Let go of everything but the files, which the agent adopts.

        Args:
            deadline: until when (monotonic) the thread may ship; events in memory use it, a spool needs none.

        """
        self._buffer.close()
        if self.in_memory:
            self.shipper.flush(written=False, timeout=deadline - monotonic() - _STOP_S)
        if self.shipper.stop(max(_STOP_S, deadline - monotonic())):
            self._buffer.release()
        passed("finish.shipped")
        self._drop_lock()
        passed("finish.unlocked")

    def _drop_lock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _about(member: Membership, settings: Settings, owner: bool) -> dict[str, Any]:
    about = {
        "experiment_id": member.experiment_id,
        "run_id": member.run_id,
        "host": member.host,
        "pid": os.getpid(),
        "rank": member.rank,
        "home": str(settings.home),  # the one that the job named, which `status` compares
        "owner": owner,
        "spool": "file",
        "boot_id": boot_id(),
        "pid_start": process_start_ticks(os.getpid()),
        "started_ns": member.started_ns,
        "level": member.level,
        "sdk": "1",
    }
    memory = cgroup.own()
    if memory is not None:
        about |= {"cgroup": memory.path, "cgroup_inode": memory.inode, "oom_kills": memory.oom_kills}
    return about


def _address(node: NodeDir) -> str:
    try:
        return node.address
    except LayoutError as error:
        complain("address", str(error))
        return _NOWHERE


def _reason(error: OSError) -> str:
    return str(error) if isinstance(error, LayoutError) else f"{error.filename or 'node directory'}: {error.strerror}"
