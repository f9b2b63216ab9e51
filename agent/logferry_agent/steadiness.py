"""Does the wall clock go as time does? Retention by age waits where it does not.

To a clock that stepped forward (a wrong battery clock, a correction of one) every file is old at once. So ages are only
believed after an hour in which the clock kept step; whoever asks for the retention by hand need not wait for the first
hour of an agent, but for one after a step that it saw. Rotation by age needs none of this: it rotates once for a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TRUST_S = 3600.0
# More than any correction of a clock that is looked after.
STEP_S = 60.0


def elapsed_s() -> float:
    """Return seconds that have passed, also while the machine slept where the system counts those."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Steadiness:
    """Compares the wall clock with the time that has passed.

    Args:
        clock_ns: the wall clock.
        elapsed_s: seconds from some moment on; never steps.

    """

    def __init__(self, clock_ns: Callable[[], int], elapsed_s: Callable[[], float]) -> None:
        self._clock_ns, self._elapsed_s = clock_ns, elapsed_s
        self._since_s, self._lead_s = elapsed_s(), self._lead()
        self.stepped_by_s = 0.0  # the last step that was seen

    def trusts_ages(self, *, asked: bool) -> bool:
        """Look at the clock, and say whether a file's age by it is to be believed; `asked`: by a user, now."""
        step_s, self._lead_s = self._lead() - self._lead_s, self._lead()
        if abs(step_s) >= STEP_S:
            self.stepped_by_s, self._since_s = step_s, self._elapsed_s()
        return self._elapsed_s() - self._since_s >= TRUST_S or (asked and not self.stepped_by_s)

    def _lead(self) -> float:
        return self._clock_ns() / 1e9 - self._elapsed_s()
