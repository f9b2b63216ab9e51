"""What a producer can see of its node: how many log there, whether an agent runs, and what follows."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from logferry import company
from logferry.layout import NodeDir


@pytest.fixture
def node(root: Path) -> NodeDir:
    found = NodeDir(root)
    found.spool.mkdir()
    return found


def make(node: NodeDir, *names: str) -> None:
    for name in names:
        (node.spool / name).mkdir()


def test_every_spool_is_a_producer_and_whoever_asks_is_one(node: NodeDir) -> None:
    assert company.producers(node) == 1
    make(node, "a")
    assert company.producers(node) == 1
    make(node, "b", "c")
    assert company.producers(node) == 3


def test_spools_that_are_kept_made_or_removed_are_no_company(node: NodeDir) -> None:
    make(node, "a", *(f".bad-{number}" for number in range(10)), ".new-b", ".gone-c")
    assert company.producers(node) == 1


def test_a_thousand_are_counted_at_a_glance(node: NodeDir, monkeypatch: pytest.MonkeyPatch) -> None:
    make(node, *(f"p{number}" for number in range(1000)))
    monkeypatch.setattr(company, "os", SimpleNamespace(stat=os.stat))  # nothing but that is asked
    assert company.producers(node) == 1000


def test_a_file_system_that_counts_no_links_is_looked_into_up_to_sixteen(
    node: NodeDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(node, "a", "b", ".bad-c")
    found = os.stat(node.spool)
    without_links = os.stat_result((*found[:3], 1, *found[4:]))
    monkeypatch.setattr(company.os, "stat", lambda _: without_links)
    assert company.producers(node) == 2
    make(node, *(f"q{number}" for number in range(100)))
    assert company.producers(node) == 16


def test_a_directory_that_is_not_there_holds_nobody_else(root: Path) -> None:
    assert company.producers(NodeDir(root / "nowhere")) == 1


def test_the_more_producers_a_node_has_the_longer_each_gathers_up_to_three_quarters_of_a_second() -> None:
    waits = [company.batch_s(producers) for producers in (0, 1, 2, 3, 4, 5, 16, 700, 701, 5000)]
    assert waits == [0.005, 0.005, 0.125, 0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75]


def test_a_producer_looks_around_once_a_second_and_once_in_eight_batches(node: NodeDir) -> None:
    company_of = company.Company(node, "p")
    assert company_of.next_batch_at(5.0) == pytest.approx(5.005)
    make(node, *(f"p{number}" for number in range(15)))
    assert company_of.next_batch_at(5.99) < 6.0
    assert company_of.next_batch_at(6.1) == 6.5
    make(node, *(f"q{number}" for number in range(1500)))
    assert company_of.next_batch_at(10.0) == 10.5
    assert company_of.next_batch_at(10.1) - 10.1 <= 0.75
    assert company_of._batch_s == 0.75


def test_few_ship_together_whenever_each_began_and_however_many_each_has_seen(node: NodeDir) -> None:
    companies = []
    for count in range(1, 17):
        make(node, f"producer{count}")
        companies.append(company.Company(node, f"producer{count}"))
        companies[-1].next_batch_at(5.0 + count / 100)  # it looks for the next time in a second or later
    assert {one.next_batch_at(5.3 + place / 100) for place, one in enumerate(companies[4:])} == {5.5}
    assert {one.next_batch_at(5.49) for one in companies[1:]} == {5.5}


def test_many_ship_some_at_a_time_at_moments_spread_evenly(node: NodeDir) -> None:
    make(node, *(f"producer{number}" for number in range(160)))
    found = Counter(company.Company(node, f"producer{number}").next_batch_at(5.02) for number in range(160))
    assert sorted(found) == [5.0625 + place / 16 for place in range(8)]
    assert max(found.values()) < 40
    assert company.Company(node, "producer7").next_batch_at(6.02) in {moment + 1.0 for moment in found}


def test_a_lock_in_a_directory_that_others_may_write_to_is_no_agent(
    node: NodeDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "lock_holder", lambda _: 1)
    assert company.has_agent(node)
    node.path.chmod(0o722)
    assert not company.has_agent(node)
