"""The collector as a process: hints, scans, a store that is down, signals, and only one of them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from logferry.settings import SettingsError
from logferry_collector.config import CollectorConfig, load_config
from logferry_collector.running import held, runs, status_path
from logferry_collector.service import Service
from logferry_collector.watch import Watch
from support.agents import wait_for
from support.collecting import SAMPLE, Place

COMMAND = (
    sys.executable,
    "-c",
    "import sys; from logferry.cli import main; sys.exit(main(['collector', *sys.argv[1:]]))",
)


@pytest.fixture
def start(home: Path, node_dir: Path, root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def begin(*arguments: str, config: str = "") -> subprocess.Popen[str]:
        (root / "config.toml").write_text(f"[collector]\n{config}\n")
        environment = os.environ | {"LOGFERRY_CONFIG": str(root / "config.toml")}
        started.append(subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def status(place: Place) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(status_path(place.home).read_text())
    except FileNotFoundError:
        return {}
    return found


def test_a_new_file_is_taken_in_by_its_notification(place: Place, start: Callable[..., subprocess.Popen[str]]) -> None:
    start(config="rescan_s = 3600")
    wait_for(lambda: status(place).get("watching"))
    place.write("e/deep/er/r.json", SAMPLE)
    wait_for(lambda: place.ids() == ["deep-er-r"])
    place.append("e/deep/er/all.jsonl", {"run_id": "s"})
    wait_for(lambda: sorted(place.ids()) == ["deep-er-r", "s"])
    wait_for(lambda: status(place)["rows"] == 2)


def test_a_last_line_without_line_feed_is_taken_after_the_settle_time(
    place: Place, start: Callable[..., subprocess.Popen[str]]
) -> None:
    start(config="rescan_s = 3600\nsettle_s = 0.3")
    wait_for(lambda: status(place).get("watching"))
    place.append("e/all.jsonl", {"run_id": "s"}, end="")
    wait_for(lambda: place.ids() == ["s"])


def test_sigterm_takes_in_what_is_there_and_ends_with_0(
    place: Place, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(config="rescan_s = 3600\ngather_s = 30")
    wait_for(lambda: status(place).get("up"))
    place.write("e/r.json", SAMPLE)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert (place.ids(), status(place)["up"]) == (["r"], False)


def test_a_second_collector_is_refused_with_the_pid_of_the_first(
    place: Place, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start()
    wait_for(lambda: runs(place.home, place.store.url))
    second = start()
    message = second.communicate(timeout=30)[1]
    assert (second.returncode, f"pid {first.pid}" in message) == (1, True)


def test_once_scans_and_ends(place: Place, start: Callable[..., subprocess.Popen[str]]) -> None:
    place.write("e/r.json", SAMPLE)
    assert start("--once").wait(30) == 0
    assert place.ids() == ["r"]


class Running:
    """A service on a thread of this process, with parts of it replaced."""

    def __init__(self, place: Place, **config: float) -> None:
        self.said: list[str] = []
        self.service = Service(
            place.home,
            place.store.url,
            CollectorConfig(**config),  # type: ignore[arg-type]
            clock_ns=time.time_ns,
            say=self.said.append,
        )
        self._thread = threading.Thread(target=self.service.run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_without_notifications_the_scan_finds_every_file_and_it_is_said_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "start", lambda _: "inotify watch limit reached")
    with Running(place, rescan_s=0.05) as running:
        place.write("e/r.json", SAMPLE)
        wait_for(lambda: place.ids() == ["r"])
        place.write("e/s.json", SAMPLE)
        wait_for(lambda: len(place.ids()) == 2)
    assert len(running.said) == 1
    assert "inotify watch limit reached; a scan every 0.05 s" in running.said[0]


def test_inotify_limits_are_a_reason_and_no_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", full)
    place.home.results.mkdir(parents=True)
    assert "inotify watch limit reached" in Watch(str(place.home.results), lambda: None).start()


def test_while_the_store_is_locked_nothing_is_skipped_and_it_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: really_open(*a, **(k | {"timeout": 0.05})))
    blocker = really_open(place.store.url, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with Running(place, rescan_s=3600, backoff_max_s=0.1) as running:
        place.write("e/r.json", SAMPLE)
        wait_for(lambda: status(place).get("held"))
        assert status(place)["held"][0]["what"] == "store"
        assert status(place)["held"][0]["error"] == "database is locked"
        assert 0 < time.time_ns() - status(place)["held"][0]["since_ns"] < 60e9
        assert "database is locked" in held(place.home, place.store.url)
        blocker.execute("ROLLBACK")
        wait_for(lambda: place.ids() == ["r"])
        wait_for(lambda: status(place)["held"] == [])
        assert held(place.home, place.store.url) == ""
    blocker.close()
    assert ["trying again" in line or "works again" in line for line in running.said] == [True, True]


def test_a_full_store_is_held_and_resumes_by_itself(place: Place) -> None:
    place.write("e/r.json", SAMPLE | {"notes": "x" * 200_000})
    connection = place.store.database.connection  # type: ignore[attr-defined]
    connection.execute("PRAGMA max_page_count = 30")
    with pytest.raises(Exception, match="full"):
        place.collect()
    assert (place.ids(), place.store.stamps()) == ([], {})
    connection.execute("PRAGMA max_page_count = 100000")
    place.collect()
    assert place.ids() == ["r"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resacn_s = 1", "collector.resacn_s: unknown key; known are"),
        ("rescan_s = 0", "collector.rescan_s: expected a number, 0.05 or more, at most 86400, is '0'"),
        ("batch_files = '7'", "collector.batch_files: expected a whole number"),
    ],
)
def test_a_bad_configuration_names_file_and_key(root: Path, text: str, message: str) -> None:
    path = root / "config.toml"
    path.write_text(f"[collector]\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_service_whose_own_log_is_on_a_full_disk_waits_for_its_store_all_the_same(place: Place, home: Path) -> None:
    home.mkdir(exist_ok=True)
    nowhere = {"LOGFERRY_STORE": f"postgresql:///none?host={home}", "LOGFERRY_HOME": str(home)}
    with (
        open("/dev/full", "wb") as full,
        subprocess.Popen(COMMAND, stdout=full, stderr=full, env=os.environ | nowhere) as service,
    ):
        wait_for(lambda: status(place).get("held"))
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
