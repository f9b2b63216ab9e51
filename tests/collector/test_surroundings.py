"""What the machine does to a collector: directories and stores that go and come back, missing locks, jumping clocks."""

from __future__ import annotations

import errno
import fcntl
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logferry.cli import main
from logferry_collector.config import CollectorConfig
from logferry_collector.query import open_store
from logferry_collector.running import runs, sole_collector
from logferry_collector.service import Service
from support.agents import wait_for
from support.collecting import SAMPLE, Place


@contextmanager
def serving(place: Place, said: list[str]) -> Iterator[Service]:
    config = CollectorConfig(rescan_s=0.1, backoff_max_s=0.1)
    service = Service(place.home, place.store.url, config, clock_ns=time.time_ns, say=said.append)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(30)


def test_a_results_directory_that_is_removed_and_made_again_is_watched_again(place: Place) -> None:
    said: list[str] = []
    with serving(place, said) as service:
        place.write("e/r.json", SAMPLE)
        wait_for(lambda: place.ids() == ["r"])
        first = service._watch._observer
        shutil.rmtree(place.home.results)
        wait_for(lambda: service._watch._observer is not first)
        place.write("e/s.json", SAMPLE)
        wait_for(lambda: place.ids() == ["r", "s"])
        wait_for(lambda: not service._unwatched and service._watch.holds())
    assert len([line for line in said if "no notifications" in line]) <= 1


def test_a_store_that_is_removed_under_a_running_collector_is_made_anew(place: Place) -> None:
    said: list[str] = []
    path = place.home.store
    place.write("e/r.json", SAMPLE)
    with serving(place, said):
        wait_for(lambda: place.ids() == ["r"])
        for name in ("", "-wal", "-shm"):
            Path(f"{path}{name}").unlink(missing_ok=True)

        def rows() -> list[tuple[str]]:
            try:
                with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                    found: list[tuple[str]] = connection.execute("SELECT run_id FROM result").fetchall()
                connection.close()
            except sqlite3.OperationalError:
                return []
            return found

        wait_for(lambda: rows() == [("r",)])
    assert any("trying again" in line for line in said)


def test_a_damaged_store_is_refused_with_the_way_out(
    home: Path, node_dir: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "store").mkdir(parents=True)
    (home / "store" / "results.db").write_text("no database " * 100)
    for verb in (["results"], ["collector", "--once"], ["sql", "SELECT 1"]):
        assert main(verb) == 2
        assert "move it away with its -wal and -shm" in capsys.readouterr().err


def test_where_a_file_system_has_no_locks_a_collector_runs_and_askers_take_in_themselves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlockable(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unlockable)
    monkeypatch.setenv("LOGFERRY_HOME", str(place.home.path))
    place.write("e/r.json", SAMPLE)
    with sole_collector(place.home, place.store.url):
        assert not runs(place.home, place.store.url)
        with open_store() as store:
            assert len(store.results()) == 1


def test_a_signal_while_the_service_waits_ends_it(place: Place) -> None:
    config = CollectorConfig(rescan_s=3600, gather_s=0)
    service = Service(place.home, place.store.url, config, clock_ns=time.time_ns, say=lambda _: None)
    before = signal.signal(signal.SIGALRM, service.stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        service.run()  # ends by the signal, or the test's time limit ends it
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_jumps_makes_no_file_wait_for_ever(place: Place, jump_s: int) -> None:
    place.append("e/r.jsonl", {"run_id": "a"}, {"run_id": "b"}, end="")
    place.collect()
    place.ahead_s += jump_s
    place.collect()
    place.append("e/r.jsonl", "", {"run_id": "c"})
    place.collect()
    assert place.ids() == ["a", "b", "c"]


def test_an_asker_that_stays_open_finds_appends_to_a_file_quiet_for_days(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.append("e/r.jsonl", {"run_id": "a"})
    place.ahead_s = 3 * 86_400
    place.collect()
    place.append("e/r.jsonl", {"run_id": "b"})
    place.collect()
    assert place.ids() == ["a", "b"]
