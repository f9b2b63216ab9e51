"""What users import: each name is there once, documented, and does nothing without a run."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import logferry


@pytest.mark.parametrize("name", logferry.__all__)
def test_every_export_is_reachable_and_says_what_it_does(name: str) -> None:
    assert len(inspect.getdoc(getattr(logferry, name)) or "") > 20


@pytest.mark.parametrize("name", ["Run", "Logger", "Delivery", "Handler"])
def test_every_public_method_says_what_it_does(name: str) -> None:
    found = getattr(logferry, name)
    for method in [method for method in vars(found) if not method.startswith("_")]:
        value = vars(found)[method]
        if inspect.isfunction(value):
            assert inspect.getdoc(value), method


def test_exports_are_in_order_and_named_once() -> None:
    assert logferry.__all__ == sorted(set(logferry.__all__))


def test_a_star_import_brings_exactly_the_exports() -> None:
    names: dict[str, object] = {}
    exec("from logferry import *", names)
    assert set(names) - {"__builtins__"} == set(logferry.__all__)


def test_what_is_no_export_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="module 'logferry' has no attribute 'inti'"):
        _ = logferry.inti  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["debug", "info", "warning", "error", "critical", "exception", "log"])
def test_the_modules_log_functions_are_those_of_a_run(name: str) -> None:
    ours, runs = inspect.signature(getattr(logferry, name)), inspect.signature(getattr(logferry.Run, name))
    assert [(one.name, one.kind) for one in ours.parameters.values()] == [
        (one.name, one.kind) for one in runs.parameters.values() if one.name != "self"
    ]


def test_without_a_run_everything_can_be_called_and_does_nothing(home: Path, node_dir: Path) -> None:
    run = logferry.current()
    for name in ("debug", "info", "warning", "error", "critical", "exception"):
        getattr(logferry, name)("Event", "message", field=1)
    logferry.log({"loss": 1}, step=1)
    with run as same:
        same.bind(fold=1).info("Event")
        same.result({"a": 1})
        same.finish()
    assert (run.experiment_id, run.run_id, run.flush()) == ("", "", logferry.Delivery())
    assert not home.exists()
    assert not node_dir.exists()


def test_a_store_without_its_extra_says_how_to_install_it() -> None:
    program = "import sys; sys.modules['orjson'] = None; import logferry; logferry.open_store()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the results store needs the package orjson;")
    assert last.endswith("pip install 'logferry[collector]'")
