"""The agent's configuration: table `[agent]` of the file that LOGFERRY_CONFIG names, checked as a whole, then frozen.

Built by `load` at the start and again on SIGHUP; an error names the file and the key and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from logferry import checks
from logferry.checks import number, setting
from logferry.events import INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRule:
    """The level that producers of matching runs are told to log from; patterns as in file names (`exp*`)."""

    experiment: str = setting(checks.text(), "*")
    run: str = setting(checks.text(), "*")
    level: int = setting(checks.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRule:
    """The level from which matching events appear in the text rendering."""

    event: str = setting(checks.text())
    level: int = setting(checks.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """All settings of the agent; see docs/configuration.md."""

    # intake
    # Without a limit a held output would fill the disk that all jobs of the node share.
    journal_bytes: int = setting(number(1 << 20, whole=True), 4 << 30)
    journal_segment_bytes: int = setting(number(64 << 10, 1 << 30, whole=True), 32 << 20)
    drain_s: float = setting(number(0.001, 3600), 25.0)
    levels: tuple[LevelRule, ...] = setting(checks.list_of(LevelRule), ())

    # running logs
    checkpoint_s: float = setting(number(0.05, 60), 1.0)
    text: bool = setting(checks.flag, False)
    text_level: int = setting(checks.level, INFO)
    text_levels: tuple[TextRule, ...] = setting(checks.list_of(TextRule), ())
    # A thousand runs at a time and some; never more than half of what the process may open.
    open_files: int = setting(number(8, whole=True), 2048)

    # rotation and retention
    rotate_bytes: int = setting(number(4 << 10, whole=True), 256 << 20)
    rotate_age_s: float | None = setting(number(1), None)
    compress: str = setting(checks.choice("zstd", "gzip", "none"), "zstd")
    final_after_s: float = setting(number(0), 600.0)
    keep_files: int | None = setting(number(1, whole=True), None)
    keep_age_s: float | None = setting(number(1), None)
    keep_bytes: int | None = setting(number(1 << 10, whole=True), None)


def load(path: Path | None) -> AgentConfig:
    """Return the configuration that a file holds; the defaults without one."""
    return checks.load(path, "agent", AgentConfig)
