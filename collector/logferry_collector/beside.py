"""Settings that lie beside outcomes: Hydra's `.hydra/config.yaml` and Lightning's `hparams.yaml`.

Where the one result of a file, not written by logferry, says nothing of a setting, the file in its directory does. It
is read when the result is: a change of the settings alone is not noticed.
"""

from __future__ import annotations

import os
from typing import Any

from logferry_collector.formats.yaml import settings_of
from logferry_collector.tail import UnreadableError, beginning, opened

_NAMES = (".hydra/config.yaml", "hparams.yaml")
_MAX_BYTES = 1 << 20


class Beside:
    """Settings by directory, each read once."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def complete(self, document: dict[str, Any], path: str) -> None:
        """Add to the configuration of a result what lies beside its file."""
        if "owner" in document:  # the SDK's say all themselves
            return
        directory = os.path.dirname(path)
        if directory not in self._known:
            self._known[directory] = self._read(directory)
        if self._known[directory]:
            document["config"] = self._known[directory] | (document.get("config") or {})

    def _read(self, directory: str) -> dict[str, Any]:
        for name in _NAMES:
            try:
                with opened(f"{directory}/{name}") as fd:
                    data = beginning(fd, _MAX_BYTES + 1)
            except (UnreadableError, OSError):
                continue
            return settings_of(data) if len(data) <= _MAX_BYTES else {}
        return {}
