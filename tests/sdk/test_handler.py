"""Records of the standard library become events, whatever they carry, and nothing goes round in circles."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

import logferry
from logferry.handler import Handler
from support.node import Node
from support.spools import spooled


class Seen(logferry.Logger):
    """Takes the events of the handler under test in place of a run."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, str | None, dict[str, Any]]] = []

    def at(self, level: int, event: str, message: str | None, fields: dict[str, Any]) -> None:
        self.events.append((level, event, message, fields))

    @property
    def last(self) -> tuple[int, str, str | None, dict[str, Any]]:
        return self.events[-1]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def log(seen: Seen) -> logging.Logger:
    logger = logging.Logger("app.train", level=1)  # noqa: LOG001 - nobody else listens to this one
    logger.addHandler(Handler(seen))
    return logger


def test_the_loggers_name_is_the_event_and_extra_are_its_fields(log: logging.Logger, seen: Seen) -> None:
    log.warning("only %d left", 3, extra={"fold": 2, "event": "mine"})
    assert seen.last == (30, "app.train", "only 3 left", {"fold": 2, "event": "mine"})


@pytest.mark.parametrize("args", [("{broken",), ("{0}",), ("100%",), ("%s and {}", "{x}")])
def test_braces_and_percent_signs_are_text(log: logging.Logger, seen: Seen, args: tuple[str, ...]) -> None:
    log.info(*args)
    assert seen.last[2] == (args[0] % args[1:] if len(args) > 1 else args[0])


def test_an_exception_is_in_fields_of_its_own(log: logging.Logger, seen: Seen) -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        log.exception("failed")
    level, _, message, fields = seen.last
    assert (level, message, fields["exception"]) == (40, "failed", "ZeroDivisionError: division by zero")
    assert "Traceback (most recent call last)" in fields["traceback"]


def test_exc_info_without_an_exception_adds_nothing(log: logging.Logger, seen: Seen) -> None:
    log.error("odd", exc_info=True)  # noqa: LOG014 - what is under test
    assert seen.last[3] == {}


def test_a_stack_that_was_asked_for_is_a_field(log: logging.Logger, seen: Seen) -> None:
    log.info("where", stack_info=True)
    assert "test_a_stack_that_was_asked_for" in seen.last[3]["stack"]


@pytest.mark.parametrize("level", [1, 5, 15, 35, 60])
def test_custom_levels_keep_their_number(log: logging.Logger, seen: Seen, level: int) -> None:
    log.log(level, "x")
    assert seen.last[0] == level


def test_a_custom_levels_name_is_a_field(log: logging.Logger, seen: Seen) -> None:
    logging.addLevelName(25, "NOTICE")
    log.log(25, "x")
    assert seen.last[3] == {"level_name": "NOTICE"}


def test_a_record_without_a_level_is_no_record_of_the_systems_own(seen: Seen) -> None:
    Handler(seen).handle(logging.makeLogRecord({"name": "app", "msg": "x", "levelno": 0}))
    assert seen.last[0] == 1


def test_the_handlers_level_and_filters_hold(log: logging.Logger, seen: Seen) -> None:
    log.handlers[0].setLevel("ERROR")
    log.handlers[0].addFilter(lambda record: "secret" not in record.getMessage())
    log.warning("below")
    log.error("secret")
    log.error("taken")
    assert [message for _, _, message, _ in seen.events] == ["taken"]


def test_a_formatter_makes_the_message(log: logging.Logger, seen: Seen) -> None:
    log.handlers[0].setFormatter(logging.Formatter("%(levelname)s <%(message)s>"))
    log.info("x")
    assert seen.last[2] == "INFO <x>"


@pytest.mark.parametrize("name", ["zmq", "zmq.auth", "logferry", "logferry.shipper"])
def test_records_of_ours_and_of_our_transport_are_left_out(seen: Seen, name: str) -> None:
    Handler(seen).handle(logging.makeLogRecord({"name": name, "msg": "x", "levelno": 40}))
    assert seen.events == []


def test_what_is_logged_while_a_record_is_handled_does_not_go_round(log: logging.Logger, seen: Seen) -> None:
    class Chatty:
        def __str__(self) -> str:
            log.info("from inside")
            return "outer"

    log.info("%s", Chatty())
    assert [message for _, _, message, _ in seen.events] == ["outer"]


def test_a_broken_argument_raises_nothing_and_the_next_record_arrives(
    log: logging.Logger, seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    log.info("%d", "no number")
    log.info("next")
    assert [message for _, _, message, _ in seen.events] == ["next"]
    assert "Logging error" in capsys.readouterr().err


def test_without_a_run_a_record_goes_nowhere() -> None:
    Handler().handle(logging.makeLogRecord({"name": "app", "msg": "x", "levelno": 40}))


def test_a_handler_has_no_lock_that_a_thread_could_hold_at_a_fork(seen: Seen) -> None:
    class Slow(Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "slow":
                entered.set()
                leave.wait(10)
            super().emit(record)

    entered, leave, handler = threading.Event(), threading.Event(), Slow(seen)
    records = [logging.makeLogRecord({"name": "app", "msg": text, "levelno": 40}) for text in ("slow", "fast")]
    thread = threading.Thread(target=handler.handle, args=records[:1])
    thread.start()
    entered.wait(10)
    handler.handle(records[1])
    assert [message for _, _, message, _ in seen.events] == ["fast"]
    leave.set()
    thread.join()


def test_a_hundred_threads_through_the_root_logger_are_all_in_the_spool(node: Node) -> None:
    done = node.run_job(
        "import logferry, logging, threading\n"
        "logging.basicConfig(level=10, handlers=[logferry.Handler()])\n"
        "def work(t):\n  for n in range(20): logging.getLogger(f'thread{t}').info('tick %d', n, extra={'n': n})\n"
        "with logferry.init('exp'):\n"
        "  threads = [threading.Thread(target=work, args=(t,)) for t in range(100)]\n"
        "  [thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    (events,) = spooled(node).values()
    found = [(name, fields["n"]) for _, _, name, _, fields in events if name.startswith("thread")]
    assert sorted(found) == sorted((f"thread{t}", n) for t in range(100) for n in range(20))


def test_debug_logging_of_everything_does_not_feed_on_itself(node: Node) -> None:
    done = node.run_job(
        "import asyncio, logferry, logging\n"
        "logging.basicConfig(level=1, handlers=[logferry.Handler()])\n"
        "with logferry.init('exp', level=10) as run: run.flush(timeout=0.1)\n"
        "logging.info('late')"
    )
    assert done.returncode == 0
    (events,) = spooled(node).values()
    assert len(events) < 10
