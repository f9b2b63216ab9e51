"""The log methods: levels, fields of any name, bound fields, and nothing that a caller can do wrong."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import logferry
from logferry.events import CRITICAL, DEBUG, ERROR, INFO, MAX_EVENT_BYTES, WARNING
from logferry.logger import Logger, exception_fields
from support.mapped import Logged


@pytest.fixture
def logged() -> Logged:
    return Logged()


def test_every_method_logs_at_its_level_with_the_clocks_time(logged: Logged) -> None:
    run = logged.run
    for method in (run.debug, run.info, run.warning, run.error, run.critical):
        method("E", "said", n=1)
    assert logged.events() == [[7, level, "E", "said", {"n": 1}] for level in (DEBUG, INFO, WARNING, ERROR, CRITICAL)]


def test_a_disabled_level_does_nothing_at_all(logged: Logged) -> None:
    logged.buffer.set_level(ERROR)
    logged.hot.clock = logged.hot.pack = None  # type: ignore[assignment] - whoever touched them would raise
    logged.run.debug("E", anything=object())
    logged.run.info("E")
    logged.run.warning("E")
    logged.run.log({"loss": 1})
    logged.run.at(25, "E", None, {})
    assert logged.events() == []


def test_a_level_between_two_is_compared_as_a_number(logged: Logged) -> None:
    logged.buffer.set_level(25)
    logged.run.at(24, "Below", None, {})
    logged.run.at(25, "At", None, {})
    logged.run.at(99, "Far above", None, {})
    assert [event[2] for event in logged.events()] == ["At", "Far above"]


NAMES = "event message time seq extra self level fields hot method args kwargs name {} %s".split() + [
    "",
    "a b",
    "ü",
    "\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_may_have_any_name(logged: Logged, name: str) -> None:
    run = logged.run.bind(**{name: 1})
    for method in (run.info, run.error, run.exception):
        method("E", "said", **{name: 2})
    run.log({"loss": 1}, **{name: 2})
    run.info("E")
    assert [event[4][name] for event in logged.events()] == [2, 2, 2, 2, 1]


def test_bound_fields_come_first_are_inherited_and_do_not_leak_upwards(logged: Logged) -> None:
    parent = logged.run.bind(fold=3)
    child = parent.bind(epoch=1)
    child.info("Child", epoch=2)
    parent.info("Parent")
    logged.run.info("Root")
    assert [list(event[4].items()) for event in logged.events()] == [[("fold", 3), ("epoch", 2)], [("fold", 3)], []]


def test_an_exception_is_logged_with_its_traceback(logged: Logged) -> None:
    try:
        int("the reason")
    except ValueError:
        logged.run.exception("Failed", "while training", epoch=1)
    ((_, level, event, message, fields),) = logged.events()
    assert (level, event, message, fields["epoch"]) == (ERROR, "Failed", "while training", 1)
    assert fields["exception"].startswith("ValueError: invalid literal")
    assert fields["traceback"].startswith("Traceback (most recent call last):")
    assert 'int("the reason")' in fields["traceback"]


def test_exception_without_an_exception_is_an_error_event(logged: Logged) -> None:
    logged.run.exception("Nothing is wrong")
    assert logged.events() == [[7, ERROR, "Nothing is wrong", None, {}]]


def test_an_exception_that_cannot_be_told_still_has_its_type() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert exception_fields(MuteError())["exception"] == "MuteError"


def test_metrics_are_an_info_event_with_its_step(logged: Logged) -> None:
    logged.run.log({"loss": 0.94, 3: 1}, step=42)
    logged.run.log({"loss": 0.93}, step=7)  # steps may come in any order
    logged.run.log({"loss": 0.92}, phase="test")
    assert [event[1:] for event in logged.events()] == [
        [INFO, "Metrics", None, {"step": 42, "loss": 0.94, "3": 1}],
        [INFO, "Metrics", None, {"step": 7, "loss": 0.93}],
        [INFO, "Metrics", None, {"loss": 0.92, "phase": "test"}],
    ]


@pytest.mark.parametrize("wrong", [None, 5, [1, 2], "loss", object(), {None: 1}])
def test_metrics_of_a_wrong_kind_are_kept_as_they_are(logged: Logged, wrong: Any) -> None:
    logged.run.log(wrong)
    (event,) = logged.events()
    assert event[2] == "Metrics"
    assert event[4]


@pytest.mark.parametrize(("event", "message"), [(5, None), (None, 7), (b"E", b"m"), ("\ud800", "\ud800"), ("", "")])
def test_a_name_or_message_of_a_wrong_kind_is_an_event_too(logged: Logged, event: Any, message: Any) -> None:
    logged.run.info(event, message)
    assert len(logged.events()) == 1


class LogsItself:
    """A value whose own code logs while it is being packed."""

    def __init__(self, log: Logger) -> None:
        self.log = log

    def __repr__(self) -> str:
        self.log.info("Inner", size=1)
        return "logs itself"


class LogsWhenListed(dict):  # type: ignore[type-arg]
    log: Logger

    def items(self) -> Any:
        self.log.info("Inner")
        return super().items()


def test_a_value_that_logs_while_it_is_packed_harms_neither_event(logged: Logged) -> None:
    value = LogsWhenListed(a=1)
    value.log = logged.run
    logged.run.info("Outer", one=LogsItself(logged.run), two=value)
    logged.run.info("After")
    found = {event[2]: event[4] for event in logged.events()}
    assert found["Outer"] == {"one": "logs itself", "two": {"a": 1}}
    assert found["Inner"] is not None
    assert found["After"] == {}
    assert logged.hot.busy is False


def test_a_destructor_that_logs_while_packing_harms_neither_event(logged: Logged) -> None:
    class Dying:
        def __del__(self) -> None:
            logged.run.info("Dying")

    class Kills(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            victims.clear()
            return super().items()

    victims = [Dying()]
    logged.run.info("Outer", value=Kills(a=1))
    assert [event[2] for event in logged.events()] == ["Dying", "Outer"]


def test_after_a_huge_event_the_packer_is_a_new_one(logged: Logged) -> None:
    before = logged.hot.pack
    logged.run.info("Huge", data=[0.5] * MAX_EVENT_BYTES)
    assert logged.hot.pack is not before
    assert "value" not in logged.fields()


def test_a_signals_handler_may_log_between_any_two_steps(logged: Logged) -> None:
    seen = 0

    def handler(*_: object) -> None:
        nonlocal seen
        seen += 1
        logged.run.info("Signal", data="x" * 500)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(20_000):
            logged.run.info("Main", number=number, data="x" * 100)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    names = [(event[2], event[4].get("number")) for event in logged.events()]
    assert [number for name, number in names if name == "Main"] == list(range(20_000))
    assert sum(name == "Signal" for name, _ in names) == seen > 0


def test_threads_keep_their_order_and_lose_nothing(logged: Logged) -> None:
    def work(who: int) -> None:
        for number in range(3000):
            logged.run.info("Tick", who=who, number=number, data="x" * 100)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(event[4]["who"], event[4]["number"]) for event in logged.events()]
    for who in range(4):
        assert [number for one, number in found if one == who] == list(range(3000))


def test_without_a_run_every_function_takes_its_call_and_does_nothing(
    node_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in (logferry.debug, logferry.info, logferry.warning, logferry.error, logferry.critical):
        call("E", "said", n=1)
    logferry.exception("E")
    logferry.log({"loss": 1}, step=1)
    run = logferry.current()
    with run as same:
        assert same is run
    run.bind(a=1).error("E")
    run.result({"a": 1})
    run.finish()
    assert run.flush() == logferry.Delivery()
    assert (run.experiment_id, run.run_id) == ("", "")
    assert capsys.readouterr().err == ""
    assert not node_dir.exists()
