"""Names of the directories and files that the parts of logferry share, and what may be such a name.

Two roots (see docs/configuration.md)::

    NODE/                        local to the node, private: mode 0700, owner checked, never a link
      agent.sock                 the agent's ROUTER socket
      agent.rouse                the FIFO that wakes producers without a connection (see wire.py)
      agent.lock                 record lock of the running agent; holds its pid
      home                       the home that the agent serves, one line of UTF-8
      spool/<producer>/          one directory per producer; `.new-*` is not there yet (see spool.py)
      journal/                   the agent's segments; journal/bad/ holds what could not be read
      state.db                   checkpoints
    HOME/                        local or shared
      logs/<experiment_id>/<run_id>/<host>.jsonl      running log; rotated `<host>.<UTC>-<n>.jsonl[.zst|.gz]`
      logs/<experiment_id>/<run_id>/<host>.log        text rendering, when asked for
      results/<experiment_id>/<run_id>.json           result; parts `<run_id>.part-<producer>.json`,
                                                      of people `<run_id>.part-edit-….json` (see edits.py);
                                                      `.<run_id>.gone` is being deleted from the trash
      store/results.db           the default results store
      agents/<host>              touched every minute by the host's agent

Names that begin with a dot are temporary everywhere and are never read by another part.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

MAX_COMPONENT_BYTES = 128
# Unix socket addresses hold 108 bytes with the closing NUL (unix(7)).
MAX_IPC_PATH_BYTES = 107
# Mapped files, record locks and SQLite are not to be trusted there: see docs/architecture.md.
NETWORK_FILESYSTEMS = frozenset(
    "nfs nfs4 cifs smb3 smbfs lustre gpfs beegfs ceph glusterfs afs pvfs2 orangefs panfs wekafs ocfs2 gfs2 9p "
    "davfs ncpfs virtiofs".split()
)
# Copy-on-write: blocks allocated ahead are not the blocks that a later write goes to, so a mapping can still SIGBUS.
UNALLOCATABLE_FILESYSTEMS = frozenset({"zfs", "btrfs", "bcachefs"})
MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs"})
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class LayoutError(OSError):
    """A root directory cannot be used; the message names it and says what to set instead."""


def is_control(char: str) -> bool:
    """Say whether `char` can act on a terminal, break a line or turn the reading direction."""
    return char in _BIDI_CONTROLS or unicodedata.category(char) in {"Cc", "Zl", "Zp", "Cs"}


def safe_component(value: str, what: str) -> str:
    """Return `value` if it is one safe path component.

    Args:
        value: an experiment or run id as somebody gave it.
        what: the word for it in the error, e.g. `"experiment id"`.

    Raises:
        ValueError: quotes the value in ASCII and says what is allowed.

    """
    reason = _unsafe(value)
    if reason:
        shown = ascii(value if len(str(value)) <= 160 else str(value)[:160] + "…")
        raise ValueError(
            f"{what} {shown} {reason}; allowed is a single file name of 1 to {MAX_COMPONENT_BYTES} bytes in UTF-8 "
            "that does not begin with a dot, without '/', '.part-', control characters and outer blanks"
        )
    return value


def _unsafe(value: str) -> str:
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, not a string"
    if not value:
        return "is empty"
    if value.startswith("."):
        return "begins with a dot"
    if "/" in value or ".part-" in value:
        return "contains '/'" if "/" in value else "contains '.part-', which marks part files"
    # All that acts on a terminal is not printable, and almost every name is.
    if not value.isprintable() and any(is_control(char) for char in value):
        return "contains a control character"
    if value.strip() != value:
        return "begins or ends with a blank"
    if len(value.encode()) > MAX_COMPONENT_BYTES:
        return f"is longer than {MAX_COMPONENT_BYTES} bytes"
    return ""


def host_name() -> str:
    """Return this machine's name as it is used in file names."""
    name = os.uname().nodename
    return name if name and not _unsafe(name) else "localhost"


class NodeDir(NamedTuple):
    """The node directory and the names in it."""

    path: Path

    @property
    def socket(self) -> Path:
        return self.path / "agent.sock"

    @property
    def address(self) -> str:
        """The agent's default ZeroMQ address.

        Raises:
            LayoutError: the path does not fit into a Unix socket address.

        """
        if len(os.fsencode(self.socket)) > MAX_IPC_PATH_BYTES:
            raise LayoutError(
                f"{self.socket} is longer than the {MAX_IPC_PATH_BYTES} bytes that a socket's path may have; "
                "set LOGFERRY_NODE_DIR to a shorter directory"
            )
        return f"ipc://{self.socket}"

    @property
    def lock(self) -> Path:
        return self.path / "agent.lock"

    @property
    def home_note(self) -> Path:
        return self.path / "home"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def state(self) -> Path:
        return self.path / "state.db"


class Home(NamedTuple):
    """The home directory and the names in it."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def store(self) -> Path:
        return self.path / "store" / "results.db"

    @property
    def agents(self) -> Path:
        return self.path / "agents"

    def run_logs(self, experiment_id: str, run_id: str) -> Path:
        return self.logs / experiment_id / run_id

    def result(self, experiment_id: str, run_id: str) -> Path:
        return self.results / experiment_id / f"{run_id}.json"

    def result_part(self, experiment_id: str, run_id: str, producer: str) -> Path:
        return self.results / experiment_id / f"{run_id}.part-{producer}.json"


def filesystem_type(path: Path, table: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the file system that holds `path` (which need not exist), or "" where that is unknown.

    Args:
        path: what is asked about.
        table: the mounts, as proc(5) describes the file `mountinfo`.

    """
    best, kind = b"", b""
    try:
        target = os.fsencode(os.path.realpath(path))  # an error where somebody changes a link meanwhile
        lines = table.read_bytes().split(b"\n")[:-1]
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(b" - ")
        # Blanks and the like are octal escapes; everything else is the bytes of the name, which may be no text.
        mount = before.split(b" ")[4].decode("unicode_escape").encode("latin-1")
        inside = target == mount or target.startswith(mount.rstrip(b"/") + b"/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split(b" ", 1)[0]
    return os.fsdecode(kind)


def is_network(kind: str) -> bool:
    """Say whether `kind` is a file system whose files other machines may change; FUSE counts as one."""
    return kind in NETWORK_FILESYSTEMS or kind == "fuse" or kind.startswith("fuse.")


def prepare_node_dir(path: Path) -> NodeDir:
    """Create the node directory where it is missing and check that it is private and local.

    Raises:
        LayoutError: it is a link, somebody else's, open to others and not ours to close, or on a network file system.

    """
    kind = filesystem_type(path)
    if is_network(kind):
        raise LayoutError(f"node directory {path} is on a network file system ({kind}); {_WAY_OUT}")
    try:
        for missing in reversed([one for one in path.parents if not one.exists()]):
            missing.mkdir(mode=0o755, exist_ok=True)
        if not os.path.lexists(path):
            path.mkdir(mode=0o700, exist_ok=True)
        fault = _not_only_ours(path)
        if not fault and path.lstat().st_mode & 0o077:
            path.chmod(0o700)
        fault = fault or _planted(path)
    except OSError as error:
        raise LayoutError(f"node directory {path} cannot be made: {error.strerror}; {_WAY_OUT}") from error
    if fault:
        raise LayoutError(f"node directory {path} {fault}; {_WAY_OUT}")
    return NodeDir(path)


def clock_lead_s(directory: Path) -> float:
    """Return how far the clock that stamps files in a directory, on a network one its server's, is ahead of ours.

    Raises:
        OSError: no file can be made there, which tells.

    """
    path = directory / f".now-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        return os.fstat(fd).st_mtime - time.time()
    finally:
        os.close(fd)
        os.unlink(path)


def is_own_node_dir(path: Path) -> bool:
    """Say whether the node directory is there and nobody else's; if not, what is in it is not to be believed."""
    try:
        return not _not_only_ours(path) and not path.lstat().st_mode & 0o022 and not _planted(path)
    except OSError:
        return False


_WAY_OUT = "set LOGFERRY_NODE_DIR to a directory of yours on a local disk"


def _not_only_ours(path: Path) -> str:
    """Return why others have a say in a node directory, or the empty string."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        return f"is {'a link' if stat.S_ISLNK(found.st_mode) else 'a file'}, not a directory"
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}, not to you"
    # In a directory like /var/tmp nobody can rename what is another's; without the sticky bit anybody could.
    above = path.parent.stat().st_mode
    if above & 0o002 and not above & stat.S_ISVTX:
        return f"lies in {path.parent}, where everybody may rename it"
    return ""


def _planted(path: Path) -> str:
    """Look for what others left behind while they could write to the directory."""
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                owner = entry.stat(follow_symlinks=False).st_uid
            except FileNotFoundError:  # the agent or a job of ours has files there that come and go
                continue
            if owner != os.geteuid():
                return f"holds {entry.name!a} of user {owner}; remove that"
    return ""


def open_new(path: str | Path, directory: int | None = None, mode: int = 0o644) -> int:
    """Open a new file of ours for writing, in place of whatever has its name; nothing is written through a link.

    Args:
        path: the file; a name in `directory` where that is given.
        directory: descriptor of the directory.
        mode: as open(2) takes it.

    Raises:
        OSError: it cannot be made.

    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path, dir_fd=directory)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)


def read_plain(path: Path, most: int = 1 << 20) -> bytes:
    """Read the first `most` bytes of a regular file, never through a link and never waiting for a FIFO.

    Raises:
        OSError: it cannot be read, or is something else.

    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return file.read(most)
