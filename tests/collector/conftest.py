"""Places with results, closed after the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from logferry_collector.store import open_url
from support import postgres
from support.collecting import Place


@pytest.fixture
def place(root: Path) -> Iterator[Place]:
    place = Place(root)
    yield place
    place.store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def each_place(request: pytest.FixtureRequest, root: Path) -> Iterator[Place]:
    """The same place on one store after the other."""
    store = open_url(postgres.shared().fresh_url()) if request.param == "postgres" else None
    place = Place(root, store)
    yield place
    place.store.close()
