"""Which files are offered: all that changed, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from logferry_collector.discover import Discover
from logferry_collector.records import Stamp

DAY_NS = 86_400 * 10**9


class Clock:
    """The real time, moved ahead at will."""

    ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def discover(root: Path, clock: Clock) -> Discover:
    return Discover([str(root)], {}, clock)


def take(discover: Discover) -> list[str]:
    found = discover.scan()
    for one in found:
        discover.done(one.path, Stamp.of(os.lstat(one.path)))
    return [os.path.basename(one.path) for one in found]


def test_a_file_is_offered_until_it_is_done(root: Path, discover: Discover) -> None:
    (root / "a.json").write_text("{}")
    assert [len(discover.scan()), len(discover.scan()), take(discover)] == [1, 1, ["a.json"]]
    assert discover.scan() == []


def test_a_file_written_just_before_it_was_read_is_offered_once_more(
    root: Path, discover: Discover, clock: Clock
) -> None:
    (root / "a.json").write_text("{}")
    take(discover)
    clock.ahead_ns = 10**9
    assert (take(discover), take(discover)) == (["a.json"], [])


def test_unchanged_directories_are_not_listed_again(
    root: Path, discover: Discover, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.json").write_text("{}")
    clock.ahead_ns = 10 * 10**9
    take(discover)
    (root / "a.json").write_text("{ }")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)
        assert take(discover) == ["a.json"]


def test_a_change_in_place_of_a_file_quiet_for_days_is_found_by_a_later_scan(
    root: Path, discover: Discover, clock: Clock
) -> None:
    path = root / "a.json"
    path.write_text("{}")
    clock.ahead_ns = 2 * DAY_NS
    take(discover)
    path.write_text("{ }")
    assert ["a.json"] in [take(discover) for _ in range(30)]


def test_a_replaced_file_is_found_by_the_next_scan_however_quiet_it_was(
    root: Path, discover: Discover, clock: Clock
) -> None:
    path = root / "a.json"
    path.write_text("{}")
    clock.ahead_ns = 2 * DAY_NS
    take(discover)
    path.with_name(".tmp").write_text("{ }")
    path.with_name(".tmp").rename(path)
    assert take(discover) == ["a.json"]


def test_hints_are_looked_at_alone_and_directories_whole(root: Path, discover: Discover) -> None:
    (root / "e").mkdir()
    for name in ("e/a.json", "e/b.json", "c.json", ".d.json", "e/x.txt"):
        (root / name).write_text("{}")
    hints = {str(root / "c.json"), str(root / ".d.json"), str(root / "gone.json"), "/etc/passwd.json"}
    assert [os.path.basename(one.path) for one in discover.look(hints)] == ["c.json"]
    assert sorted(os.path.basename(one.path) for one in discover.look({str(root / "e")})) == ["a.json", "b.json"]


def test_a_file_that_waits_is_offered_again_by_a_clock_that_was_set_back(
    root: Path, discover: Discover, clock: Clock
) -> None:
    path = root / "a.json"
    path.write_text("{")
    (found,) = discover.scan()
    discover.done(found.path, Stamp.of(path.lstat()))
    discover.wait(found.path, clock() + 5 * 10**9)
    assert discover.due() == []
    clock.ahead_ns -= 3600 * 10**9
    assert discover.due() == [found.path]
    assert [one.path for one in discover.scan()] == [found.path]


def test_a_file_that_waits_is_offered_again_in_time(root: Path, discover: Discover, clock: Clock) -> None:
    path = str(root / "a.json")
    Path(path).write_text("{}")
    discover.wait(path, clock() + 10**9)
    assert (discover.due(), discover.waiting) == ([], 1)
    clock.ahead_ns = 2 * 10**9
    assert discover.due() == [path]


def test_a_directory_that_cannot_be_listed_is_said_and_others_go_on(
    root: Path, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.scandir

    def denied(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return really(path)

    (root / "closed").mkdir()
    (root / "a.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        found = discover.scan()
    assert sorted((os.path.basename(one.path), one.problem) for one in found) == [
        ("a.json", ""),
        ("closed", "cannot be listed: Permission denied"),
    ]


def test_a_full_scan_asks_quiet_files_too(root: Path, discover: Discover, clock: Clock) -> None:
    path = root / "a.json"
    path.write_text("{}")
    clock.ahead_ns = 2 * DAY_NS
    take(discover)
    path.write_text("{ }")
    assert [os.path.basename(one.path) for one in discover.scan(full=True)] == ["a.json"]


def test_numbers_beyond_64_bits_make_a_stamp_that_a_store_can_keep_and_tells_files_apart() -> None:
    def stamp(inode: int, mtime_ns: int) -> Stamp:
        numbers = {"st_dev": (1 << 64) - 1, "st_ino": inode, "st_size": 5, "st_mtime_ns": mtime_ns, "st_ctime_ns": 7}
        return Stamp.of(SimpleNamespace(**numbers))  # type: ignore[arg-type]

    first, second = stamp((1 << 63) + 5, 1 << 63), stamp((1 << 63) + 6, 1 << 63)
    assert first != second
    assert all(-(1 << 63) <= number < 1 << 63 for number in (*first, *second))
