"""Files that a later logferry wrote: refused, named, and left exactly as they are."""

from __future__ import annotations

from pathlib import Path


class LaterVersionError(OSError):
    """A file is of a version that this program does not know. Upgrade, or point LOGFERRY_NODE_DIR elsewhere."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a later logferry (version {found}, this one knows {known}); it is left as it is: "
            "upgrade logferry, or set LOGFERRY_NODE_DIR to another directory"
        )
