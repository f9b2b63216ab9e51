"""Two system loggers of Debian as node agents: the same events as text over a Unix socket, into a file.

They are set up as their documentation says for a file that is synced (`sync on`, `fsync(yes)`) and as they come. The
sender waits while their socket is full, as syslog(3) does, so nothing is lost while they live. What they do not do:
numbers, checksums, acks; what waits in their memory or in the socket dies with them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import Figure

SENDERS = 4
SEND = """
import socket, sys
peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
peer.connect(sys.argv[1])
for i in range(int(sys.argv[2])):
    peer.send(b'<14>Jan  1 00:00:00 bench: {"event":"EpochEnd","epoch":%d,"batch":42,"loss":0.94,"phase":"train"}' % i)
"""
RSYSLOG = """
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{root}/log.sock" RateLimit.Interval="0")
action(type="omfile" file="{root}/out.log" {sync})
"""
SYSLOG_NG = """
@version: 3.35
source jobs {{ unix-dgram("{root}/log.sock"); }};
destination out {{ file("{root}/out.log" {sync}); }};
log {{ source(jobs); destination(out); flags(flow-control); }};
"""


def figures(debian: Path, events: int, ours_us: float) -> list[Figure]:
    """Return the processor time of each per event, and logferry's share of it."""
    found = []
    for name, sync, how in (
        ("rsyslogd", "", "as it comes"),
        ("rsyslogd", 'sync="on" flushOnTXEnd="on"', "synced"),
        ("syslog-ng", "", "as it comes"),
        ("syslog-ng", "fsync(yes)", "synced"),
    ):
        program = debian / "usr/sbin" / name
        if not program.exists():
            found.append(Figure(f"{name}: not measured: not unpacked, see bench/debian-peers", float("nan"), ""))
            continue
        us, per_s, lines = _measured(name, program, debian, sync, events)
        lost = SENDERS * events - lines
        details: dict[str, float | str] = {"its µs": us, "its events per second": per_s, "lost": lost}
        found.append(Figure(f"agent's CPU per event ÷ {name}'s, {how}", ours_us / us, "×", details=details))
    return found


def _measured(name: str, program: Path, debian: Path, sync: str, events: int) -> tuple[float, float, int]:
    root = Path(tempfile.mkdtemp(prefix="lf-peer-"))
    lib = debian / "usr/lib"
    paths = [lib / "x86_64-linux-gnu", debian / "lib/x86_64-linux-gnu", lib / "syslog-ng"]
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, paths))}
    config = root / "conf"
    config.write_text((RSYSLOG if name == "rsyslogd" else SYSLOG_NG).format(root=root, sync=sync))
    if name == "rsyslogd":
        command = [program, "-n", "-f", config, "-i", root / "pid", "-M", lib / "x86_64-linux-gnu/rsyslog"]
    else:
        files = ["-f", config, "-p", root / "pid", "-R", root / "persist", "-c", root / "control"]
        command = [program, "-F", "--no-caps", *files, f"--module-path={lib / 'syslog-ng/3.38'}"]
    daemon = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _listens(root / "log.sock"))
        began = time.perf_counter()
        arguments = [sys.executable, "-c", SEND, root / "log.sock", str(events)]
        senders = [subprocess.Popen(arguments) for _ in range(SENDERS)]
        for sender in senders:
            sender.wait()
        last = -1
        while (size := (root / "out.log").stat().st_size) != last:  # until it writes no more
            last, ended = size, time.perf_counter()
            time.sleep(0.2)
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        lines = (root / "out.log").read_bytes().count(b"\n")
        return cpu / max(lines, 1) * 1e6, lines / (ended - began), lines
    finally:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        shutil.rmtree(root)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        return peer.connect_ex(str(path)) == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("a system logger does not listen")
        time.sleep(0.01)
