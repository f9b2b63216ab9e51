"""The collector's configuration: the table `[collector]` of the file that LOGFERRY_CONFIG names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logferry import checks
from logferry.checks import number, setting
from logferry_collector.formats.columns import Columns
from logferry_collector.formats.content import Reading


def _columns(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise checks.FaultsError(("", "expected a table of columns, each with where it goes"))
    wrong = [name for name, place in value.items() if not isinstance(place, str) or not all(place.split("."))]
    if wrong:
        raise checks.FaultsError(*((f".{name}", 'expected a field or a dotted key, as "config.lr"') for name in wrong))
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorConfig:
    """Every key with its default; times in seconds."""

    rescan_s: float = setting(number(0.05, 86_400), 10.0)
    # A file that does not parse and was not written to for this long is listed as incomplete.
    settle_s: float = setting(number(0, 86_400), 5.0)
    # Notifications are gathered for this long, so that a burst of files is one transaction.
    gather_s: float = setting(number(0, 60), 0.05)
    # Files in one transaction: large enough to amortise its sync, small enough that readers and other writers get in.
    batch_files: int = setting(number(1, 10_000, whole=True), 500)
    # After a store that could not be written, wait this long at most before the next try.
    backoff_max_s: float = setting(number(0.05, 3_600), 30.0)
    # A pickle is a program; ours runs none of it, but whoever needs no pickles need not rely on that.
    pickle: bool = setting(checks.flag, False)
    # Where columns go that the rules of formats/columns.py do not know, or put elsewhere.
    columns: dict[str, str] = field(default_factory=dict, metadata={"check": _columns})

    @property
    def reading(self) -> Reading:
        """What formats need to know."""
        return Reading(Columns(self.columns), self.pickle)


def load_config(path: Path | None) -> CollectorConfig:
    """Return the configuration in force; errors name the file, the key, and what is expected."""
    return checks.load(path, "collector", CollectorConfig)
