"""The lock of a job's threads."""

from __future__ import annotations

import contextlib
import signal
import threading

from logferry.lock import Lock, held


class LimitError(Exception):
    """The end of a time limit."""


def _free(lock: threading.RLock) -> bool:
    """Say whether another thread gets the lock."""
    got: list[bool] = []
    other = threading.Thread(target=lambda: got.append(lock.acquire(timeout=1)))
    other.start()
    other.join()
    return got[0]


def test_whatever_a_signals_handler_raises_at_any_moment_the_lock_is_free_afterwards() -> None:
    lock, raised = Lock(), 0

    def end(*_: object) -> None:
        raise LimitError

    before = signal.signal(signal.SIGALRM, end)
    try:
        for number in range(2000):
            with contextlib.suppress(LimitError):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + number % 100 * 1e-6)
                try:
                    for _ in range(2000):
                        with held(lock):
                            pass
                except LimitError:
                    raised += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised > 500
    assert _free(lock)
