"""Imports run one way, a job that logs imports little, and every module has its place in the reading order."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "logferry": ROOT / "sdk" / "logferry",
    "logferry_agent": ROOT / "agent" / "logferry_agent",
    "logferry_collector": ROOT / "collector" / "logferry_collector",
}
# What the agent and the collector may know of the SDK: formats, names and the command line, and no run.
CONTRACTS = {
    "events",
    "wire",
    "results",
    "layout",
    "leftovers",
    "settings",
    "spool",
    "cli",
    "cgroup",
    "checks",
    "edits",
    "killpoints",
}
# Heavy in every start of a job; each is imported where somebody needs it.
LATE = {"asyncio", "dataclasses", "hashlib", "logging", "random", "socket", "subprocess", "tomllib", "traceback"} | {
    "logferry.wire",  # frames are the shipper's: their ten classes were a sixth of the import
}
BEYOND_TRANSPORT = """
import sys, msgpack, zmq
before = set(sys.modules)
import logferry
print(*(set(sys.modules) - before))
"""


def _imported(path: Path) -> Iterator[str]:
    """Yield the full name of each module that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reading_order_of_a_package_names_each_of_its_modules(package: str) -> None:
    order = (PACKAGES[package].parent / "README.md").read_text()
    modules = {path.name for path in PACKAGES[package].glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in modules if f"`{name}`" not in order} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_sdk_imports_neither_agent_nor_collector_and_these_never_each_other(package: str) -> None:
    foreign = set(PACKAGES) - {package, "logferry"}
    for path in _modules(package):
        assert not {name.split(".")[0] for name in _imported(path)} & foreign, path


@pytest.mark.parametrize("package", ["logferry_agent", "logferry_collector"])
def test_agent_and_collector_know_the_contracts_of_the_sdk_only(package: str) -> None:
    own = {path.stem for path in _modules("logferry")}
    for path in _modules(package):
        names = [name.split(".") for name in _imported(path) if name.startswith("logferry.")]
        assert {parts[1] for parts in names if parts[1] in own} <= CONTRACTS, path


def test_the_sdk_itself_imports_no_third_party_but_its_transport() -> None:
    allowed = set(sys.stdlib_module_names) | {"zmq", "msgpack", "logferry"}
    for path in _modules("logferry"):
        if path.parent.name != "demo":
            assert {name.split(".")[0] for name in _imported(path)} <= allowed, path


def test_importing_logferry_brings_what_a_log_call_needs_and_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", BEYOND_TRANSPORT], capture_output=True, text=True, check=True)
    brought = {name for name in done.stdout.split() if not name.startswith("_")}
    assert not brought & LATE
    assert {name.split(".")[0] for name in brought} <= set(sys.stdlib_module_names) | {"logferry"}


def test_there_is_no_cycle_among_the_modules_of_a_package() -> None:
    for package, folder in PACKAGES.items():
        modules = {
            f"{package}.{path.relative_to(folder).with_suffix('').as_posix().replace('/', '.')}": path
            for path in _modules(package)
        }
        graph = {name: {one for one in _at_load(path) if one in modules} - {name} for name, path in modules.items()}
        while leaves := [name for name, needs in graph.items() if not needs]:
            graph = {name: needs - set(leaves) for name, needs in graph.items() if name not in leaves}
        assert graph == {}, f"these import each other: {sorted(graph)}"


def _at_load(path: Path) -> set[str]:
    """Return what a file imports when it is loaded, by the names of modules or of things in them."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_an_agent_has_nothing_of_tls_in_memory_and_leaves_it_to_others() -> None:
    code = (
        "import sys; from logferry.cli import VERBS; import logferry_agent.start\n"
        "print(VERBS['agent'][0], {'ssl', '_ssl', '_hashlib'} & set(sys.modules)); import ssl; ssl.SSLContext"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["logferry_agent.start:agent", "set()\n"]
