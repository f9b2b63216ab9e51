"""Verb `doctor`: what is wrong with this installation, each finding with the way out."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from logferry import spool
from logferry.cli import FINE, NO, Parser, printable, settings_of
from logferry.layout import (
    MEMORY_FILESYSTEMS,
    UNALLOCATABLE_FILESYSTEMS,
    Home,
    LayoutError,
    NodeDir,
    filesystem_type,
    host_name,
    is_network,
    open_new,
    prepare_node_dir,
)
from logferry.settings import Settings, SettingsError
from logferry_agent import config as configuration
from logferry_agent.asking import ask
from logferry_agent.fs import FileSystem

OK, NOTE, WRONG = "ok", "note", "wrong"
# A spool's segment is allocated only while so much of its file system stays free.
_FREE_SHARE = 0.10
# A group commit that takes longer delays every ack; jobs do not wait for it, `flush` does.
_SLOW_SYNC_MS = 100.0
_SYNCS = 5
# Each directory of results/ needs a watch.
_FEW_WATCHES = 8192
# A thousand producers, their sockets and files.
_FEW_FILES = 4096
_PACKAGES = ("logferry", "pyzmq", "msgpack", "aiofiles", "orjson", "rich", "zstandard", "watchdog")


class Finding(NamedTuple):
    """One line: `state` is OK, NOTE (works, but) or WRONG; `way_out` says what to do."""

    state: str
    what: str
    said: str
    way_out: str = ""


def doctor(arguments: list[str]) -> int:
    """Verb: check this installation; exit code 1 when something is wrong."""
    parser = Parser("doctor")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    found = [finding for check in CHECKS for finding in check(settings)]
    if options.json:
        print(json.dumps({"findings": [finding._asdict() for finding in found]}, indent=2))
    else:
        for finding in found:
            way_out = f"\n       → {printable(finding.way_out)}" if finding.way_out else ""
            print(f"{finding.state:<6} {finding.what}: {printable(finding.said)}{way_out}")
    return NO if any(finding.state == WRONG for finding in found) else FINE


def node_directory(settings: Settings) -> Iterator[Finding]:
    try:
        node = prepare_node_dir(settings.node_dir)
        _ = node.address
    except LayoutError as error:
        yield Finding(WRONG, "node directory", str(error), "set LOGFERRY_NODE_DIR to a short path on a local disk")
        return
    kind = filesystem_type(node.path)
    yield Finding(OK, "node directory", f"{node.path} ({kind}), private")
    if kind in MEMORY_FILESYSTEMS:
        said = f"{node.path} is in memory: what is durable there does not outlive the machine"
        yield Finding(NOTE, "node directory", said, "set LOGFERRY_NODE_DIR to a directory on a disk")
    if kind in UNALLOCATABLE_FILESYSTEMS:
        yield Finding(NOTE, "node directory", f"{kind} cannot allocate ahead: spools use write(2), which costs more")
    yield from _free(node.path, "node directory", "LOGFERRY_NODE_DIR")
    yield from _sync_time(node.path)


def home_directory(settings: Settings) -> Iterator[Finding]:
    path = settings.home
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".doctor-{os.getpid()}"
        os.close(open_new(probe))
        probe.unlink()
    except OSError as error:
        yield Finding(
            WRONG, "home", f"{path}: {error.strerror}", "set LOGFERRY_HOME to a directory that you can write to"
        )
        return
    kind = filesystem_type(path)
    shared = ", shared: the collector rescans, the store is elsewhere" if is_network(kind) else ""
    yield Finding(OK, "home", f"{path} ({kind}){shared}")
    yield from _free(path, "home", "LOGFERRY_HOME")


def _free(path: Path, what: str, variable: str) -> Iterator[Finding]:
    available, size = FileSystem().free_bytes(path)
    share = available / size if size else 1.0
    said = f"{available / (1 << 30):.1f} GiB free on its file system ({share:.0%})"
    if share < _FREE_SHARE:
        yield Finding(WRONG, what, said, f"free some, or set {variable} to another disk; spools need 10 % free")
    else:
        yield Finding(OK, what, said)


def _sync_time(path: Path) -> Iterator[Finding]:
    """Measure what an ack waits for."""
    probe = path / f".doctor-{os.getpid()}"
    fd = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        times = sorted(_timed_sync(fd) for _ in range(_SYNCS))
    except OSError as error:
        yield Finding(WRONG, "sync", f"{path}: {error.strerror}", "the disk refuses to sync; look at the kernel's log")
        return
    finally:
        os.close(fd)
        probe.unlink()
    median = times[_SYNCS // 2]
    said = f"fdatasync takes {median:.2f} ms (median of {_SYNCS}), at most {times[-1]:.2f} ms"
    slow = median > _SLOW_SYNC_MS
    yield Finding(NOTE if slow else OK, "sync", said, "set LOGFERRY_NODE_DIR to a faster disk" if slow else "")


def _timed_sync(fd: int) -> float:
    os.write(fd, bytes(4096))
    began = time.perf_counter()
    FileSystem().fdatasync(fd)
    return (time.perf_counter() - began) * 1000


def limits(_settings: Settings) -> Iterator[Finding]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = hard != resource.RLIM_INFINITY and hard < _FEW_FILES
    way_out = "raise it (ulimit -Hn, LimitNOFILE=)" if few else ""
    yield Finding(NOTE if few else OK, "open files", f"at most {hard} per process", way_out)
    watches = _number(Path("/proc/sys/fs/inotify/max_user_watches"))
    if watches is not None:
        few = watches < _FEW_WATCHES
        way_out = "raise fs.inotify.max_user_watches; until then the collector relies on its rescan" if few else ""
        yield Finding(NOTE if few else OK, "inotify", f"{watches} watches per user", way_out)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def settings_file(settings: Settings) -> Iterator[Finding]:
    try:
        configuration.load(settings.config)
    except SettingsError as error:
        yield Finding(WRONG, "configuration", str(error), "correct the file; 'logferry agent --check' checks it again")
        return
    yield Finding(OK, "configuration", str(settings.config or "defaults, no file"))


def programs(settings: Settings) -> Iterator[Finding]:
    node = NodeDir(settings.node_dir)
    holder = spool.lock_holder(node.lock)
    answer = ask(settings, "status", {})
    if answer is None and holder:
        yield Finding(
            WRONG, "agent", f"pid {holder} runs and does not answer", "look at its stderr; kill it if it hangs"
        )
    elif answer is None:
        yield Finding(WRONG, "agent", "is not running; jobs keep their events", "start it with: logferry agent")
    else:
        yield Finding(OK, "agent", f"up, pid {answer['pid']}")
        yield from _agent_findings(answer, settings)
    if not (Home(settings.home).agents / f"{host_name()}.collector.json").exists():
        said = "never ran here; whoever asks for results takes in what is new"
        yield Finding(NOTE, "collector", said, "start it with: logferry collector")


def _agent_findings(answer: dict[str, object], settings: Settings) -> Iterator[Finding]:
    if answer["home"] != str(settings.home):
        said = f"the agent serves {answer['home']}, you name {settings.home}"
        yield Finding(WRONG, "home", said, "set LOGFERRY_HOME to the agent's, or start the agent anew")
    held = answer["held"]
    for problem in held if isinstance(held, list) else []:
        said = f"{problem['path']}: {problem['error']}"
        yield Finding(WRONG, f"held {problem['what']}", said, "the agent goes on by itself once the cause is gone")


def packages(_: Settings) -> Iterator[Finding]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(NOTE, "packages", f"{name} is not installed", "pip install 'logferry[all]'")
    yield Finding(OK, "packages", ", ".join(found))


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    node_directory,
    home_directory,
    limits,
    settings_file,
    programs,
    packages,
)
