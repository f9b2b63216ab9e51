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
from support.node import Node


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


def _shell(node: Node, command: str) -> tuple[int, str]:
    """Run `logferry` with arguments and redirections; return its exit code and what it said on stderr."""
    script = f"{sys.executable} -m logferry {command}"
    done = subprocess.run(["sh", "-c", script], env=node.env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


FULL = "logferry: standard output cannot be written: No space left on device\n"
CLOSED = "logferry: standard output is closed; redirect it, to /dev/null if nobody reads it\n"


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("verb", ["logs", "search x", "results", "--help", "--version", "logs --help", "verify"])
def test_output_that_cannot_be_written_is_said_in_one_line_whatever_the_verb(node: Node, verb: str, lines: int) -> None:
    logs = node.home / "logs" / "exp" / "r"
    logs.mkdir(parents=True)
    line = '{"time":"2025-07-30T13:00:00.000000Z","level":"INFO","event":"Tick","x":"x","seq":"aaaaaaaa-%d"}\n'
    (logs / "host.jsonl").write_text("".join(line % number for number in range(1, lines + 1)))
    code, said = _shell(node, f"{verb} > /dev/full")
    # `verify` has a sum to say on stderr
    assert (code, said.splitlines(keepends=True)[-1]) == (cli.USAGE, FULL)
    assert "Traceback" not in said
    assert _shell(node, f"{verb} >&-") == (cli.USAGE, CLOSED)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "latex", "markdown", "parquet", "table"])
def test_of_results_that_cannot_be_written_nothing_else_is_said_in_any_format(node: Node, form: str) -> None:
    results = node.home / "results" / "e"
    results.mkdir(parents=True)
    (results / "r.json").write_text('{"metrics": {"x": 1}}')
    assert _shell(node, f"results --format {form} > /dev/full") == (cli.USAGE, FULL)


def _with_verb(body: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of our own."""
    code = (
        "import sys, types\n"
        "from logferry import cli\n"
        f"def verb(_):\n    {body}\n"
        "sys.modules['own'] = types.SimpleNamespace(verb=verb)\n"
        "cli.VERBS['own'] = ('own:verb', '', '')\n"
        "sys.exit(cli.main(['own']))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | env
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("error", ["BrokenPipeError(32, 'a connection ended')", "OSError(28, 'another disk is full')"])
def test_an_error_that_the_output_is_not_to_blame_for_stays_one_and_adds_nothing(error: str) -> None:
    done = _with_verb(f"print('said before'); raise {error}")
    assert (done.returncode, done.stdout) == (1, "said before\n")
    assert done.stderr.splitlines()[-1].endswith(error.split("'")[1])


def test_what_python_is_told_not_to_buffer_is_there_at_once() -> None:
    body = "print('first'); import os; os.write(1, b'second\\n')"
    assert _with_verb(body, PYTHONUNBUFFERED="1").stdout == "first\nsecond\n"
    assert _with_verb(body).stdout == "second\nfirst\n"


@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_what_cannot_be_said_on_stderr_ends_nothing_in_another_way(node: Node, where: str) -> None:
    assert _shell(node, f"reuslts 2>{where}") == (cli.USAGE, "")
