"""The agent's configuration: what is refused, and how the error names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from logferry.settings import SettingsError
from logferry_agent.config import AgentConfig, load


def config(root: Path, text: str) -> AgentConfig:
    path = root / "logferry.toml"
    path.write_text(text)
    return load(path)


def test_without_a_file_the_defaults_hold() -> None:
    assert load(None) == AgentConfig()


def test_levels_are_given_by_name(root: Path) -> None:
    found = config(root, '[agent]\ntext_level = "DEBUG"\n[[agent.levels]]\nexperiment = "exp*"\nlevel = "warning"\n')
    assert (found.text_level, found.levels[0].level, found.levels[0].run) == (10, 30, "*")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agent]\nrotate_byte = 5", r"logferry.toml: agent.rotate_byte: unknown key; known are .*rotate_bytes"),
        (
            "[agent]\nrotate_bytes = 5",
            r"logferry.toml: agent.rotate_bytes: expected a whole number, 4096 or more, is '5'",
        ),
        ("[agent]\ncompress = 'lzma'", r"agent.compress: expected one of 'zstd', 'gzip', 'none', is 'lzma'"),
        ("[[agent.levels]]\nlevel = 'loud'", r"agent.levels\[0\].level: .*'loud' is none of DEBUG"),
        ("[[agent.text_levels]]\nlevel = 'INFO'", r"agent.text_levels\[0\].event: missing"),
        ("agent = 5", "agent is not a table"),
        ("[agent", "not TOML"),
    ],
)
def test_a_fault_is_named_with_file_and_key(root: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        config(root, text)
