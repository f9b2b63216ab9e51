"""The agent's configuration: table `[agent]` of the file that LOGFERRY_CONFIG names, checked as a whole, then frozen.

Built by `load` at the start and again on SIGHUP; an error names the file and the key and changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from logferry.events import INFO, level_number
from logferry.settings import SettingsError, program_table


def _level(value: Any) -> int:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no level")  # noqa: TRY004 - pydantic reports ValueErrors
    return level_number(value)


Level = Annotated[int, BeforeValidator(_level)]
Pattern = Annotated[str, Field(min_length=1, max_length=256)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LevelRule(_Model):
    """The level that producers of matching runs are told to log from; patterns as in file names (`exp*`)."""

    experiment: Pattern = "*"
    run: Pattern = "*"
    level: Level


class TextRule(_Model):
    """The level from which matching events appear in the text rendering."""

    event: Pattern
    level: Level


class AgentConfig(_Model):
    """All settings of the agent; see docs/configuration.md."""

    # intake
    # Without a limit a held output would fill the disk that all jobs of the node share.
    journal_bytes: int = Field(default=4 << 30, ge=1 << 20)
    journal_segment_bytes: int = Field(default=32 << 20, ge=64 << 10, le=1 << 30)
    drain_s: float = Field(default=25.0, gt=0, le=3600)
    levels: tuple[LevelRule, ...] = ()

    # running logs
    checkpoint_s: float = Field(default=1.0, ge=0.05, le=60)
    text: bool = False
    text_level: Level = INFO
    text_levels: tuple[TextRule, ...] = ()
    # A thousand runs at a time and some; never more than half of what the process may open.
    open_files: int = Field(default=2048, ge=8)

    # rotation and retention
    rotate_bytes: int = Field(default=256 << 20, ge=4 << 10)
    rotate_age_s: float | None = Field(default=None, ge=1)
    compress: Literal["zstd", "gzip", "none"] = "zstd"
    final_after_s: float = Field(default=600.0, ge=0)
    keep_files: int | None = Field(default=None, ge=1)
    keep_age_s: float | None = Field(default=None, ge=1)
    keep_bytes: int | None = Field(default=None, ge=1 << 10)


def load(path: Path | None) -> AgentConfig:
    """Return the configuration that a file holds; the defaults without one.

    Raises:
        SettingsError: names the file, the key and what is wrong with it.

    """
    try:
        return AgentConfig.model_validate(program_table(path, "agent"))
    except ValidationError as error:
        faults = "; ".join(f"agent.{_key(fault['loc'])}: {_fault(fault)}" for fault in error.errors())
        raise SettingsError(f"{path}: {faults}") from error


def _key(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _fault(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return f"unknown key; known are {', '.join(sorted(AgentConfig.model_fields))}"
    said = fault["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    return f"{said} (is {str(fault['input'])[:60]!r})"
