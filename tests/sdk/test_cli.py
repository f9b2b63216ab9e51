"""The `logferry` command: finds verbs, says what is missing, and sends nothing from data to a terminal."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

from logferry import cli


def _main(*arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.modules[{without!r}] = None\nfrom logferry.cli import main; sys.exit(main({arguments!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("verb", "missing", "extra"),
    [
        ("logs", "orjson", "agent"),
        ("agent", "orjson", "agent"),
        ("show", "orjson", "collector"),
        ("runs", "orjson", "collector"),
    ],
)
def test_a_base_installation_says_which_extra_a_verb_needs(verb: str, missing: str, extra: str) -> None:
    done = _main(verb, without=missing)
    assert done.returncode == cli.USAGE
    assert done.stderr == (
        f"logferry: 'logferry {verb}' needs the package {missing}; install it with: pip install 'logferry[{extra}]'\n"
    )


def test_what_the_extras_bring_is_known_by_the_name_that_is_imported() -> None:
    imported_as = {"pyyaml": "yaml", "scikit-learn": "sklearn"}
    needed = [re.match(r"([\w-]+).*extra == \"(\w+)\"", one) for one in metadata.requires("logferry") or ()]
    names = {found[1].lower() for found in needed if found and found[2] != "dev"} - {"logferry"}
    assert {imported_as.get(name, name) for name in names} == cli.EXTRA_PACKAGES


def test_a_module_that_no_extra_brings_is_a_fault_and_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("broken")
    module.verb = lambda _: importlib.import_module("no_module_of_ours")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken", module)
    monkeypatch.setitem(cli.VERBS, "broken", ("broken:verb", "agent", "fails while it runs"))
    with pytest.raises(ModuleNotFoundError, match="no_module_of_ours"):
        cli.main(["broken"])


@pytest.mark.parametrize("verb", ["logs", "runs", "results"])
def test_what_only_reads_files_imports_no_transport(verb: str, root: Path) -> None:
    environment = os.environ | {"LOGFERRY_NODE_DIR": str(root / "node"), "LOGFERRY_HOME": str(root / "home")}
    code = f"import sys; from logferry.cli import main; main([{verb!r}]); assert 'zmq' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_verb_is_named_and_the_help_lists_all() -> None:
    done = _main("reuslts")
    assert (done.returncode, done.stdout) == (cli.USAGE, "")
    assert done.stderr == "logferry: unknown verb 'reuslts'; 'logferry --help' lists them\n"
    shown = _main("--help").stdout
    for verb, (*_, summary) in cli.VERBS.items():
        assert f"{verb} " in shown
        assert summary in shown


def test_a_wrong_argument_is_a_usage_error_that_names_the_verb() -> None:
    done = _main("status", "--jsno")
    assert done.returncode == cli.USAGE
    assert done.stderr == "logferry: status: unrecognized arguments: --jsno; 'logferry status --help' says more\n"


def test_the_version_is_the_distributions() -> None:
    assert _main("--version").stdout == f"logferry {metadata.version('logferry')}\n"


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "\x9b2J", "\u202etxt.exe", "\u2028", "\x00", "\ud800"])
def test_what_acts_on_a_terminal_is_shown_as_its_escape(text: str) -> None:
    shown = cli.printable(text)
    assert shown.isprintable()
    assert shown.isascii() or not text.isascii()


@pytest.mark.parametrize("text", ["plain", "größer als 5 µs", "日本語", "emoji 🙂", "café"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert cli.printable(text) == text


def test_a_reader_that_has_seen_enough_ends_nothing_with_a_traceback() -> None:
    command = f"{sys.executable} -m logferry --help | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("usage: logferry VERB …\n", "")
