"""The collector's configuration: the table `[collector]` of the file that LOGFERRY_CONFIG names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from logferry.settings import SettingsError, program_table
from logferry_collector.formats.columns import Columns
from logferry_collector.formats.content import Reading


class CollectorConfig(BaseModel):
    """Every key with its default; times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rescan_s: Annotated[float, Field(ge=0.05, le=86_400)] = 10.0
    # A file that does not parse and was not written to for this long is listed as incomplete.
    settle_s: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    # Notifications are gathered for this long, so that a burst of files is one transaction.
    gather_s: Annotated[float, Field(ge=0, le=60)] = 0.05
    # Files in one transaction: large enough to amortise its sync, small enough that readers and other writers get in.
    batch_files: Annotated[int, Field(ge=1, le=10_000)] = 500
    # After a store that could not be written, wait this long at most before the next try.
    backoff_max_s: Annotated[float, Field(ge=0.05, le=3_600)] = 30.0
    # A pickle is a program; ours runs none of it, but whoever needs no pickles need not rely on that.
    pickle: bool = False
    # Where columns go that the rules of formats/columns.py do not know, or put elsewhere.
    columns: dict[str, Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]] = {}

    @property
    def reading(self) -> Reading:
        """What formats need to know."""
        return Reading(Columns(self.columns), self.pickle)


def load_config(path: Path | None) -> CollectorConfig:
    """Return the configuration in force.

    Raises:
        SettingsError: names the file, the key, and what is allowed.

    """
    table = program_table(path, "collector")
    try:
        return CollectorConfig(**table)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = f"collector.{'.'.join(map(str, first['loc']))}"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!a}; known are {', '.join(sorted(CollectorConfig.model_fields))}"
    return f"{key} is {first['input']!r}: {first['msg'].removeprefix('Input ')}"
