"""What the documentation names exists, and what it shows works."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from logferry.cli import VERBS, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_takes(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    said = capsys.readouterr()
    assert (ended.value.code, said.err) == (0, "")
    assert f"usage: logferry {verb}" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_verbs_files_and_tests_that_exist(page: Path) -> None:
    text = page.read_text()
    for verb in re.findall(r"^(?:\$ )?logferry ([a-z]+)", text, re.MULTILINE):
        assert verb in VERBS
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert re.search(rf"^(def |){name}\b" if name else "", (ROOT / path).read_text(), re.MULTILINE), name


def test_every_setting_is_documented() -> None:
    from logferry_agent.config import AgentConfig
    from logferry_collector.config import CollectorConfig

    text = (ROOT / "docs" / "configuration.md").read_text()
    for setting in [*fields(AgentConfig), *fields(CollectorConfig)]:
        assert f"`{setting.name}`" in text, setting.name
