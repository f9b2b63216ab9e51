"""A dealer rests only while somebody is there who can rouse it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from logferry import wire
from logferry.bell import Bell
from logferry.dealer import Dealer, connected
from logferry_agent.rouse import Rouse


@pytest.fixture
def address(root: Path) -> str:
    return f"ipc://{root}/agent.sock"


@pytest.fixture
def path(address: str) -> Path:
    return wire.rouse_path(address)


@pytest.fixture
def rouse(path: Path) -> Iterator[Rouse]:
    found = Rouse(path)
    found.renew()
    yield found
    found.close()


@pytest.fixture
def dealer(address: str) -> Iterator[Dealer]:
    with connected(address) as found:
        yield found


@pytest.fixture
def bell() -> Iterator[Bell]:
    found = Bell()
    yield found
    found.close()


def test_it_rests_until_it_is_roused(dealer: Dealer, rouse: Rouse, bell: Bell) -> None:
    assert dealer.be_rousable()
    dealer.rest()
    assert dealer.rests
    assert not dealer.wait(bell, 0.01, for_news=True)
    rouse.renew()
    assert dealer.wait(bell, 60, for_news=True)
    assert (dealer.rests, dealer.is_rousable) == (False, False)


def test_the_end_of_an_agent_rouses_too(dealer: Dealer, rouse: Rouse, bell: Bell, path: Path) -> None:
    dealer.be_rousable()
    dealer.rest()
    rouse.close()
    assert dealer.wait(bell, 60, for_news=True)
    assert not path.exists()


def test_it_stays_where_it_was_roused_before_it_could_rest(dealer: Dealer, rouse: Rouse) -> None:
    dealer.be_rousable()
    rouse.renew()  # by this one or the next agent: nobody can tell what was said meanwhile
    dealer.rest()
    assert (dealer.rests, dealer.is_rousable) == (False, False)


def test_it_stays_where_an_agent_that_was_killed_left_its_fifo(dealer: Dealer, path: Path) -> None:
    os.mkfifo(path)
    assert dealer.be_rousable()
    dealer.rest()
    assert not dealer.rests


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.write_text("x")])
def test_it_stays_where_something_else_lies(dealer: Dealer, path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    dealer.be_rousable()
    dealer.rest()
    assert not dealer.rests


def test_where_no_other_fifo_can_be_made_all_come_and_nobody_rests_any_more(
    dealer: Dealer, rouse: Rouse, bell: Bell, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    dealer.be_rousable()
    dealer.rest()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", full)
        rouse.renew()
    assert dealer.wait(bell, 60, for_news=True)
    assert dealer.be_rousable()  # the old one is still there by its name
    dealer.rest()
    assert not dealer.rests
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkfifo", full)
        rouse.renew()
    assert not dealer.be_rousable()
    rouse.renew()
    assert dealer.be_rousable()
    dealer.rest()
    assert dealer.rests
