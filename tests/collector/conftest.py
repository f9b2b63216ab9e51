"""A place with results, closed after the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.collecting import Place


@pytest.fixture
def place(root: Path) -> Iterator[Place]:
    place = Place(root)
    yield place
    place.store.close()
