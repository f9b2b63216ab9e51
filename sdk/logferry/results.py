"""The result document: its fields, and how it is created, replaced and read.

One JSON object per run in `results/<experiment_id>/<run_id>.json`, UTF-8, in this order of fields::

    experiment_id  run_id  timestamp  status  model  dataset  config  metrics  notes      what people compare
    group  tags  host  started  duration_s  exit  environment  owner  attempt  revision   where it comes from

* `timestamp`, `started`: UTC, RFC 3339; `timestamp` is the time of the last change.
* `status`: one of `STATUSES`. `RUNNING` from the start on, so that a run that dies has a result too.
* `config`, `metrics`, `environment`: maps; `tags`: list of strings; `exit`: map or null, how the run ended.
* `owner`: id of the producer that owns the document; `attempt`: 1, one more for every process that took the run
  over from a dead owner; `revision`: one more for every version of the document.
* NaN and infinities are the strings "NaN", "Infinity" and "-Infinity": the file is strict JSON.

A process of the run that is not its owner writes `<run_id>.part-<producer>.json` with `experiment_id`, `run_id`,
`producer`, `rank`, `timestamp`, `metrics` and `revision`; the owner's values win.

Invariants: whoever reads sees a whole document (a name only ever appears or changes by link(2) or rename(2));
`create` succeeds for exactly one of many processes; a name that begins with a dot is temporary.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from logferry.killpoints import passed
from logferry.layout import open_new, read_plain

RUNNING, COMPLETED, FAILED, KILLED = "RUNNING", "COMPLETED", "FAILED", "KILLED"
STATUSES = (RUNNING, COMPLETED, FAILED, KILLED)
FINAL = (COMPLETED, FAILED, KILLED)
FIELDS = (
    "experiment_id run_id timestamp status model dataset config metrics notes group tags host started duration_s "
    "exit environment owner attempt revision"
).split()
MAX_DOCUMENT_BYTES = 64 << 20
_TYPES: dict[str, tuple[type, ...]] = {
    "experiment_id": (str,),
    "run_id": (str,),
    "timestamp": (str,),
    "status": (str,),
    "config": (dict,),
    "metrics": (dict,),
    "environment": (dict,),
    "tags": (list,),
    "attempt": (int,),
    "revision": (int,),
    "duration_s": (int, float),
}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class ResultError(ValueError):
    """A result file holds no result document; the message says what is wrong with it, and where."""


def dumps(document: dict[str, Any]) -> bytes:
    """Return the document as strict, indented JSON with its known fields in their order."""
    ordered = {key: document[key] for key in FIELDS if key in document}
    ordered.update((key, value) for key, value in document.items() if key not in ordered)
    return json.dumps(finite(ordered), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def loads(data: bytes, where: str) -> dict[str, Any]:
    """Return the document that `data` holds; unknown fields are kept, missing ones stay missing.

    Raises:
        ResultError: not JSON, not an object, or a known field of a wrong type. `where` begins the message.

    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{where}: not JSON: {error}") from error
    problem = validate(document)
    if problem:
        raise ResultError(f"{where}: {problem}")
    return document  # type: ignore[no-any-return]


def validate(document: Any) -> str:
    """Return what is wrong with a document, or the empty string."""
    if not isinstance(document, dict):
        return f"the document is a {type(document).__name__}, not an object"
    for field, types in _TYPES.items():
        value = document.get(field)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            return f"{field} is a {type(value).__name__}, expected {types[-1].__name__}"
    return ""


def finite(value: Any) -> Any:
    """Return plain data with NaN and infinities as their strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


def number(value: Any) -> Any:
    """Return a metric as a number where it is the string of one that JSON cannot say; else as it is."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def read(path: Path) -> dict[str, Any]:
    """Read one document.

    Raises:
        OSError: the file cannot be read; ELOOP where it is a link.
        ResultError: it holds no document.

    """
    return loads(read_plain(path, MAX_DOCUMENT_BYTES + 1), str(path))


def create(path: Path, document: dict[str, Any]) -> bool:
    """Create the file unless it exists; return whether this call did. Not synced: a start must not wait for a disk.

    Raises:
        OSError: the directory cannot be made or written.

    """
    temporary, data = _temporary(path, document), dumps(document)
    with _directory(path) as directory:
        _write(temporary, directory, data, sync=False)
        try:
            os.link(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
                raise
            return _create_exclusively(path.name, directory, data)
        else:
            passed("result.linked")
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
    return True


def replace(path: Path, document: dict[str, Any]) -> None:
    """Replace the file, whole and durable: temporary file, fsync, rename, fsync of the directory.

    Raises:
        OSError: nothing was replaced, or (failed sync of the directory) it is not known to be durable.

    """
    temporary = _temporary(path, document)
    with _directory(path) as directory:
        try:
            _write(temporary, directory, dumps(document), sync=True)
            passed("result.synced")
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            passed("result.renamed")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)
    passed("result.replaced")


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    """Hold the experiment's directory open: a link in its place, now or later, leads nowhere."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir()
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if path.parent.is_symlink():
            raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path.parent)) from error
        raise
    try:
        yield directory
    finally:
        os.close(directory)


def _temporary(path: Path, document: dict[str, Any]) -> str:
    given = str(document.get("owner") or document.get("producer"))[-20:]  # anything: a job may say what it likes
    writer = "".join(char if char.isascii() and char.isalnum() else "_" for char in given)
    return f".{path.name[:120]}.{writer}-{os.getpid()}.tmp"


def _write(name: str, directory: int, data: bytes, *, sync: bool) -> None:
    with open(open_new(name, directory), "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            passed("result.written")
            os.fsync(file.fileno())


def _create_exclusively(name: str, directory: int, data: bytes) -> bool:
    """Create without links (some FUSE and SMB mounts); a reader may see the file half written and waits."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o644, dir_fd=directory)
    except FileExistsError:
        return False
    with open(fd, "wb") as file:
        file.write(data)
    return True
