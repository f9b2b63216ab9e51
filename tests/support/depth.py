"""How deep tests go: quick in `make test`, deep where `TESTS=deep`, as `make models` and `make deep` say."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

IS_DEEP = os.environ.get("TESTS") == "deep"
_FACTOR = int(os.environ.get("TESTS_FACTOR", "40"))
# Of what has no number of its own. Each costs a worker a hundredth of a second or so.
_EXAMPLES = 40
# The models sync thousands of times and lose power by themselves: memory is as good as a disk to them.
_MEMORY = Path("/dev/shm")


def profiles() -> None:
    """Register what each depth means and load the one that the environment asks for."""
    every = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    settings.register_profile("quick", every, max_examples=_EXAMPLES)
    settings.register_profile("deep", every, max_examples=100 * _FACTOR, stateful_step_count=60)
    settings.load_profile("deep" if IS_DEEP else "quick")


def depth(examples: int, steps: int = 50) -> settings:
    """Return settings for a model that goes through so many examples when it is to be quick."""
    if IS_DEEP:
        return settings(max_examples=examples * _FACTOR, stateful_step_count=2 * steps)
    return settings(max_examples=examples, stateful_step_count=steps)


def sized(quick: int, deep: int) -> int:
    """Return how much of something there is: enough to see it, or as much as there may be."""
    return deep if IS_DEEP else quick


def scratch() -> Path:
    """Make a directory for one example."""
    return Path(tempfile.mkdtemp(prefix="lf-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
