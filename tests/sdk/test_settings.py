"""Settings: argument before environment before file before default; what is wrong is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from logferry.settings import Settings, SettingsError, load, program_table


@pytest.fixture
def file(root: Path) -> Path:
    return root / "logferry.toml"


def _load(file: Path, text: str, env: dict[str, str] | None = None, **arguments: Any) -> Settings:
    file.write_text(text)
    return load({"LOGFERRY_CONFIG": str(file)} | (env or {}), **arguments)


def test_without_anything_the_defaults_hold() -> None:
    found = load({})
    assert found == Settings(Path(f"/var/tmp/logferry-{os.geteuid()}"), Path("~/.local/state/logferry").expanduser())
    assert (found.level, found.agent, found.run_id, found.spool_bytes) == (10, None, None, 64 << 20)


def test_the_file_stands_above_the_default(file: Path) -> None:
    assert _load(file, 'level = "warning"\nnode_dir = "/file"')[:1] == (Path("/file"),)
    assert load({"LOGFERRY_CONFIG": str(file)}).level == 30


def test_the_environment_stands_above_the_file(file: Path) -> None:
    assert _load(file, 'home = "/file"', {"LOGFERRY_HOME": "/env"}).home == Path("/env")


def test_an_argument_stands_above_the_environment(file: Path) -> None:
    found = _load(file, 'level = "error"', {"LOGFERRY_LEVEL": "INFO"}, level=10, home=None)
    assert found.level == 10


@pytest.mark.parametrize(
    ("variable", "field", "value"),
    [
        ("LOGFERRY_NODE_DIR", "node_dir", "/n"),
        ("LOGFERRY_HOME", "home", "/h"),
        ("LOGFERRY_AGENT", "agent", "tcp://127.0.0.1:1"),
        ("LOGFERRY_STORE", "store", "/s.db"),
        ("LOGFERRY_LEVEL", "level", "ERROR"),
        ("LOGFERRY_RUN_ID", "run_id", "mine"),
    ],
)
def test_each_variable_sets_its_field_and_counts_as_unset_when_empty(variable: str, field: str, value: str) -> None:
    expected = 40 if field == "level" else value
    assert str(getattr(load({variable: value}), field)) == str(expected)
    assert load({variable: ""}) == load({})


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", "/users/me")
    found = load({"LOGFERRY_NODE_DIR": "below/../node", "LOGFERRY_HOME": "~/lf"})
    assert (found.node_dir, found.home) == (root / "node", Path("/users/me/lf"))


@pytest.mark.parametrize(("given", "number"), [("debug", 10), (" Warn ", 30), ("50", 50), ("CRITICAL", 50)])
def test_levels_have_names_and_numbers(given: str, number: int) -> None:
    assert load({"LOGFERRY_LEVEL": given}).level == number


def test_the_tables_of_the_programs_are_theirs(file: Path) -> None:
    text = '[agent]\nanything = 1\n[collector]\nelse = "x"'
    assert _load(file, text).config == file
    assert program_table(file, "agent") == {"anything": 1}
    assert program_table(file, "collector") == {"else": "x"}
    assert program_table(None, "agent") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hoem = "/x"', "unknown key 'hoem'; known are agent, collector, home"),
        ('config = "/x"', "unknown key 'config'"),
        ("home = 5", "home is 5, expected a path"),
        ('home = ""', "home is '', expected a path"),
        (r'node_dir = "a\u0000b"', r"node_dir is 'a\x00b', expected a path"),
        ('home = "~nobody-of-this-name/x"', "home is '~nobody-of-this-name/x': Could not determine home directory"),
        ("run_id = 5", "run_id is 5, expected a string"),
        ('store = ""', "store is '', expected a string that is not empty"),
        ('level = "loud"', "level 'loud' is none of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("level = 51", "level 51 is none of DEBUG"),
        ("level = true", "level True is none of DEBUG"),
        ("spool_bytes = 5", "spool_bytes is 5, expected at least 262144"),
        ('spool_bytes = "64 MiB"', "spool_bytes is '64 MiB', expected at least"),
        ('agent = "tcp://x"', "agent is not a table; write [agent]"),
        ("home = ", "not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file(file: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(file, text)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_bytes_that_are_no_text_are_no_toml(file: Path) -> None:
    file.write_bytes(b'home = "\xff"')
    with pytest.raises(SettingsError, match="not TOML"):
        load({"LOGFERRY_CONFIG": str(file)})


def test_a_file_that_is_not_there_is_named_with_the_variable(file: Path) -> None:
    with pytest.raises(SettingsError, match=f"{file}: No such file or directory; LOGFERRY_CONFIG"):
        load({"LOGFERRY_CONFIG": str(file)})


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="LOGFERRY_LEVEL: level 'x' is none of"):
        load({"LOGFERRY_LEVEL": "x"})
