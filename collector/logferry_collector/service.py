"""The collector as a program: builds the parts, looks for changes, waits; `--once` looks once.

A store that is down is tried again with growing pauses; meanwhile nothing is forgotten, because only a commit moves a
cursor. SIGTERM and SIGINT: one last scan, then the end; a second one ends without it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from logferry.cli import FINE, NO, Parser, UsageError, printable, say, settings_of
from logferry.killpoints import passed
from logferry.layout import Home
from logferry_collector.config import CollectorConfig, load_config
from logferry_collector.running import AlreadyRunningError, sole_collector, write_status
from logferry_collector.store import Store, StoreDownError, StoreRefusedError, open_url, shown, url_of
from logferry_collector.takein import TakeIn
from logferry_collector.watch import Watch

_BACKOFF_MIN_S = 0.5
# A scheduler gives 30 s after SIGTERM, and the agent has its share of them.
_LAST_SCAN_S = 10.0


class Service:
    """Looks for changed results until it is told to stop.

    Args:
        home: whose `results/` is watched.
        url: the store.
        config: how often and how much.
        clock_ns: the time of day.
        say: where problems are told.

    """

    def __init__(
        self, home: Home, url: str, config: CollectorConfig, *, clock_ns: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        self._home, self._url, self._config = home, url, config
        self._clock_ns, self._say = clock_ns, say
        # Not an Event: whose signal handler sets one while the same thread is inside of it waits for itself.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._watch = Watch(str(home.results), lambda: self._wake.put(None))
        self._unwatched = ""  # why there are no notifications
        self._store: Store | None = None
        self._take_in: TakeIn | None = None
        self._backoff_s = 0.0
        self._problem = ""
        self._problem_since_ns = 0
        self._counts: tuple[int, int] | None = None
        self._stops = 0
        self._last_moment = 0.0
        self._next_scan = 0.0

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End after a last scan; called again, at once."""
        self._stops += 1
        self._last_moment = time.monotonic() + _LAST_SCAN_S
        self._wake.put(None)

    def run(self) -> None:
        self._home.results.mkdir(parents=True, exist_ok=True)
        self._begin_watch()
        try:
            while not self._stops:
                self._look()
                self._rest()
            self._next_scan = 0.0
            self._look()
        finally:
            self._watch.stop()
            self._tell(up=False)
            self._close()

    def _begin_watch(self) -> None:
        before, self._unwatched = self._unwatched, self._watch.start()
        if self._unwatched and self._unwatched != before:
            problem, every = self._unwatched, f"{self._config.rescan_s:g} s"
            self._say(f"no notifications for {self._home.results}: {problem}; a scan every {every}")

    def _look(self) -> None:
        """Take in what changed, or note why the store does not take it."""
        try:
            if self._store is None or self._take_in is None:
                self._store = open_url(self._url)
                self._take_in = TakeIn(self._store, self._home, self._config, self._clock_ns)
            self._store.check()
            self._take(self._take_in)
            self._counts = self._store.counts()
        except StoreDownError as error:
            self._close()
            self._backoff_s = min(max(_BACKOFF_MIN_S, self._backoff_s * 2), self._config.backoff_max_s)
            self._next_scan = 0.0  # the hints are used up; a scan finds what they were about
            if not self._problem:
                self._problem_since_ns = self._clock_ns()
            if str(error) != self._problem:
                self._say(f"{error}; trying again, nothing is skipped")
            self._problem = str(error)
        else:
            if self._problem:
                self._say(f"store {shown(self._url)}: works again")
            self._backoff_s, self._problem = 0.0, ""
        self._tell(up=True)

    def _take(self, take_in: TakeIn) -> None:
        hints = self._watch.drain()
        passed("hints.drained")
        if hints is None or time.monotonic() >= self._next_scan:
            if not self._watch.holds():  # the directory was removed or replaced; its watch ended with it
                self._watch.stop()
                self._begin_watch()
            self._next_scan = time.monotonic() + self._config.rescan_s
            take_in.consolidator.take(take_in.discover.scan(), self._give_up)
            take_in.consolidator.forget_void_rejects()
        else:
            found = take_in.discover.look(hints | set(take_in.discover.due()))
            take_in.consolidator.take(found, self._give_up)

    def _give_up(self) -> bool:
        return self._stops > 1 or (self._stops == 1 and time.monotonic() > self._last_moment)

    def _rest(self) -> None:
        if self._backoff_s:
            self._pause(self._backoff_s, until_hint=False)  # hints do not mend a store that is down
            return
        pause_s = self._next_scan - time.monotonic()
        due_ns = self._take_in.discover.next_due_ns() if self._take_in else None
        if due_ns is not None:
            pause_s = min(pause_s, (due_ns - self._clock_ns()) / 1e9)
        if self._pause(pause_s, until_hint=True):
            self._pause(self._config.gather_s, until_hint=False)

    def _pause(self, seconds: float, *, until_hint: bool) -> bool:
        """Wait for some time or the end, on request for a hint too; say whether there was one."""
        deadline = time.monotonic() + seconds
        while not self._stops:
            try:
                self._wake.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return False
            if until_hint:
                return True
        return False

    def _tell(self, *, up: bool) -> None:
        rows, rejects = self._counts or (None, None)
        error = self._problem.removeprefix(f"store {shown(self._url)}: ")
        problem = {"what": "store", "path": shown(self._url), "error": error, "since_ns": self._problem_since_ns}
        status: dict[str, Any] = {
            "up": up,
            "pid": os.getpid(),
            "store": shown(self._url),
            "rows": rows,
            "rejects": rejects,
        }
        waiting = self._take_in.discover.waiting if self._take_in else None
        status |= {"waiting": waiting, "watching": not self._unwatched, "time_ns": self._clock_ns()}
        status["held"] = [problem] if self._problem else []
        write_status(self._home, status)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = self._take_in = None


def collector(arguments: list[str]) -> int:
    """Collect results, as a service or once."""
    parser = Parser("collector", epilog="the verbs that ask take in what is new by themselves where none runs")
    parser.add_argument("--once", action="store_true", help="scan once and end")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    config = load_config(settings.config)
    home, url = Home(settings.home), url_of(settings)
    try:
        return _once(home, url, config) if options.once else _serve(home, url, config)
    except StoreRefusedError as error:
        raise UsageError(str(error)) from error
    except (StoreDownError, AlreadyRunningError) as error:
        _say(str(error))
    except OSError as error:
        _say(f"{error.filename or home.path}: {error.strerror}; LOGFERRY_HOME names the directory of the results")
    return NO


def _once(home: Home, url: str, config: CollectorConfig) -> int:
    store = open_url(url)
    try:
        taken = TakeIn(store, home, config)()
        rows, rejects = store.counts()
        print(f"{taken} changed files taken in; {rows} results, {rejects} rejects in {printable(shown(url))}")
    finally:
        store.close()
    return FINE


def _serve(home: Home, url: str, config: CollectorConfig) -> int:
    with sole_collector(home, url):
        _check(url)
        service = Service(home, url, config, clock_ns=time.time_ns, say=_say)
        before = {number: signal.signal(number, service.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            service.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return FINE


def _check(url: str) -> None:
    """Refuse at the start what no waiting can mend; a store that is only down is waited for."""
    try:
        open_url(url).close()
    except StoreDownError:
        return


def _say(message: str) -> None:
    say(f"logferry collector: {printable(message)}")
