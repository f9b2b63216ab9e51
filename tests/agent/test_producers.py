"""Which number comes next from whom: examples, and generated histories against a model."""

from __future__ import annotations

import random
import zlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry import wire
from logferry_agent.ledger import Ledger, Row
from logferry_agent.producers import MAX_PRODUCERS, Entry, Old, Producers, Refused, Taken, checked_about
from support.depth import depth
from support.journals import ABOUT, spool_records

A = "aaaaaaaa"


def _batch(first: int, count: int = 1) -> wire.Batch:
    payload = spool_records(*([n, 20, "E", None, {}] for n in range(first, first + count)))
    return wire.Batch(A, first, count, zlib.crc32(payload), payload)


def _greeted(acked: int = 0, ledger: Ledger | None = None) -> Producers:
    producers = Producers(ledger or Ledger())
    assert not isinstance(producers.hello(wire.Hello(A, acked, ABOUT), b"1"), Refused)
    return producers


def test_the_next_batch_is_taken_an_old_one_acked_again_any_other_sent_back() -> None:
    producers = _greeted()
    assert isinstance(producers.offer(_batch(1, 2), b"1"), Taken)
    assert producers.offer(_batch(1, 2), b"1") == Old()
    assert producers.offer(_batch(2, 2), b"1") == wire.Nack(A, 3, "expected")
    assert producers.offer(_batch(4), b"1") == wire.Nack(A, 3, "expected")


def test_a_welcome_waits_until_all_that_was_taken_is_durable() -> None:
    producers = _greeted()
    taken = producers.offer(_batch(1, 2), b"1")
    assert isinstance(taken, Taken)
    producers.hello(wire.Hello(A, 0, ABOUT), b"2")
    producers.wants_news(producers.get(A))  # type: ignore[arg-type]
    assert list(producers.news(lambda *_: None)) == []
    producers.take_durable([taken.entry])
    ((_, welcome),) = producers.news(lambda *_: None)
    assert isinstance(welcome, wire.Welcome)
    assert welcome.expected == 3


def test_what_is_constant_for_a_producer_is_kept_once() -> None:
    ledger = Ledger()
    producers = Producers(ledger)
    entries = [producers.hello(wire.Hello(name, 0, ABOUT), name.encode()) for name in (A, "b" * 8)]
    for entry in entries:
        assert isinstance(entry, Entry)
        ledger.apply(entry, 0)
        producers.take_durable([entry])
    first, second = producers
    assert first.about is ledger.rows[A].about
    assert first.about["host"] is second.about["host"]
    later = Ledger.load(msgpack.unpackb(msgpack.packb(ledger.dump()))).rows
    assert later[A].about["host"] is later["b" * 8].about["host"] is first.about["host"]


def test_there_are_news_for_as_long_as_one_was_not_told() -> None:
    producers = _greeted()
    one = producers.get(A)
    assert one is not None
    producers.wants_news(one)
    ((_, welcome),) = producers.news(lambda *_: None)
    assert producers.has_news  # it found no room, say
    producers.told(one, welcome)
    assert not producers.has_news


def test_an_agent_without_its_journal_believes_what_was_acked() -> None:
    assert isinstance(_greeted(acked=9).offer(_batch(10), b"1"), Taken)


def test_a_sealed_producer_does_not_come_back() -> None:
    ledger = Ledger()
    ledger.rows[A] = Row(5, dict(ABOUT), sealed=True)
    assert isinstance(Producers(ledger).hello(wire.Hello(A, 0, ABOUT), b"1"), Refused)


def test_a_producer_cannot_change_its_run() -> None:
    assert isinstance(_greeted().hello(wire.Hello(A, 0, ABOUT | {"run_id": "other"}), b"1"), Refused)


def test_a_run_is_alive_until_the_last_of_its_producers_is_sealed() -> None:
    producers = _greeted()
    assert producers.alive("exp", "run")
    assert not producers.alive("exp", "other")
    producers.seal(producers.get(A))  # type: ignore[arg-type]
    assert not producers.alive("exp", "run")


def test_the_number_of_producers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.producers.MAX_PRODUCERS", 1)
    assert MAX_PRODUCERS > 1
    assert isinstance(_greeted().introduce("bbbbbbbb", dict(ABOUT)), Refused)


@pytest.mark.parametrize(
    "about",
    [
        {},
        ABOUT | {"experiment_id": ".."},
        ABOUT | {"run_id": "a/b"},
        ABOUT | {"host": "\u202e"},
        ABOUT | {"pid": "1"},
        ABOUT | {"home": "x" * 5000},
    ],
)
def test_an_about_map_that_cannot_be_is_refused(about: dict[str, Any]) -> None:
    assert isinstance(checked_about(A, about), Refused)


@given(st.integers(0, 1 << 30))
@depth(50)
def test_whatever_is_sent_twice_late_or_on_old_connections_is_journalled_once_and_in_order(seed: int) -> None:
    """A producer over a network that repeats and reorders; the agent may lose what is not durable and restart."""
    chance, ledger = random.Random(seed), Ledger()
    producers, flying, queued, journal = Producers(ledger), list[tuple[wire.Batch, bytes]](), list[Entry](), [0]
    for step in range(60):
        action = chance.randrange(6)
        if action == 0:
            producers.hello(wire.Hello(A, 0, ABOUT), b"%d" % step)
        elif action in {1, 2}:
            first = chance.randint(1, journal[-1] + len(queued) * 2 + 2)
            flying.append((_batch(first, chance.randint(1, 3)), b"%d" % chance.choice([step, step - 1, step - 2])))
        elif action == 3 and flying:
            batch, _ = chance.choice(flying)
            one = producers.get(A)
            answer = producers.offer(batch, one.identity or b"" if one else b"")
            if isinstance(answer, Taken):
                queued.append(answer.entry)
        elif action == 4 and queued:
            entry = queued.pop(0)
            ledger.rows.setdefault(A, Row(1, dict(ABOUT)))
            ledger.apply(entry, step)
            producers.take_durable([entry])
            journal += range(entry.first, entry.first + entry.events)
            assert producers.get(A).durable == journal[-1]  # type: ignore[union-attr]
        elif action == 5 and chance.random() < 0.3:
            queued.clear()
            producers = Producers(ledger)
    assert journal == list(range(len(journal)))
