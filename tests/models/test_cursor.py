"""The collector's cursor against a full reading: whatever happens to files, the store holds the rows that they hold.

Rows of a file that was deleted stay. The collectors are stopped inside of their transactions, forget what they know,
and come between the look and the commit of each other.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from logferry_collector.store import StoreDownError
from support.collecting import Place
from support.depth import depth, scratch

Rows = dict[str, int]
NAMES = ("a", "b")


class JSONLines:
    """How the model writes and reads one format, without the code under test; another format is another class."""

    suffix = ".jsonl"

    @staticmethod
    def line(run: str, value: int) -> bytes:
        return json.dumps({"run_id": run, "metrics": {"v": value}}).encode()

    @staticmethod
    def rows(data: bytes) -> tuple[Rows, Rows]:
        """Return the rows of whole lines, and the row of a last line without its line feed, if it is one."""
        *whole, last = data.split(b"\n")
        return _rows(whole), _rows([last])


def _rows(lines: list[bytes]) -> Rows:
    found: Rows = {}
    for line in lines:
        try:
            row = json.loads(line)
            found[row["run_id"]] = row["metrics"]["v"]
        except ValueError:
            continue
    return found


class CursorModel(RuleBasedStateMachine):
    """What the store may and must have of files besides what they hold now, by path.

    `seen`: what a collector may have taken in; `known`: what it has for certain, since the last whole look; `gone`: the
    same of files that are gone.
    """

    form: ClassVar[type[JSONLines]] = JSONLines

    def __init__(self) -> None:
        super().__init__()
        self.root = scratch()
        self.places = [Place(self.root), Place(self.root)]
        self.directory = self.places[0].home.results / "e"
        self.directory.mkdir(parents=True)
        self.made = 0
        self.seen: dict[Path, Rows] = {}
        self.known: dict[Path, Rows] = {}
        self.gone: dict[Path, Rows] = {}
        self.may_be: Rows = {}  # of files that were renamed, or deleted before anybody looked

    def teardown(self) -> None:
        for place in self.places:
            place.store.close()
        shutil.rmtree(self.root)

    def path(self, name: str) -> Path:
        return self.directory / f"{name}{self.form.suffix}"

    def new_lines(self, count: int) -> bytes:
        return b"".join(self.new_line() + b"\n" for _ in range(count))

    def new_line(self) -> bytes:
        self.made += 1
        return self.form.line(f"r{self.made:05d}", self.made)

    # what happens to files

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 4), torn=st.sampled_from([None, 3, 10, 1000]))
    def append(self, name: str, count: int, torn: int | None) -> None:
        self.gone.pop(self.path(name), None)
        with self.path(name).open("ab") as file:
            file.write(self.new_lines(count) + (self.new_line()[:torn] if torn else b""))

    @rule(name=st.sampled_from(NAMES))
    def finish_the_last_line(self, name: str) -> None:
        if self.path(name).exists() and self.path(name).read_bytes()[-1:] not in {b"", b"\n"}:
            with self.path(name).open("ab") as file:
                file.write(b"\n")

    @rule(name=st.sampled_from(NAMES), size=st.floats(0, 1), count=st.integers(0, 6))
    def truncate_and_append(self, name: str, size: float, count: int) -> None:
        if self.path(name).exists():
            os.truncate(self.path(name), int(size * self.path(name).stat().st_size))
            self.append(name, count, None)

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 3))
    def copy_and_truncate(self, name: str, count: int) -> None:
        if self.path(name).exists():
            shutil.copyfile(self.path(name), self.path(f"copy-{self.made}-{name}"))
            self.truncate_and_append(name, 0, count)
            self.made += 1

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 6))
    def replace_by_rename(self, name: str, count: int) -> None:
        new = self.directory / ".new"
        new.write_bytes(self.new_lines(count))
        new.rename(self.path(name))
        self.gone.pop(self.path(name), None)

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 6))
    def replace_with_an_inode_used_again(self, name: str, count: int) -> None:
        self.path(name).unlink(missing_ok=True)
        self.path(name).write_bytes(self.new_lines(count))
        self.gone.pop(self.path(name), None)

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 5), count=st.integers(0, 2))
    def edit_in_place(self, name: str, which: int, count: int) -> None:
        """Change one row's value, in as many bytes, and perhaps append."""
        if self.path(name).exists():
            lines = self.path(name).read_bytes().split(b"\n")
            rows = _rows(lines[which : which + 1])
            if rows:
                ((run, value),) = rows.items()
                changed = self.form.line(run, int(str(value)[::-1]) if value % 10 else value)
                lines[which] = changed if len(changed) == len(lines[which]) else lines[which]
                with self.path(name).open("r+b") as file:
                    file.write(b"\n".join(lines))
            self.append(name, count, None)

    @rule(name=st.sampled_from(NAMES))
    def rename(self, name: str) -> None:
        if self.path(name).exists():
            self.known.pop(self.path(name), None)
            self.may_be |= self.seen.pop(self.path(name), {})
            self.path(name).rename(self.path(f"old-{self.made}-{name}"))
            self.made += 1

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        path = self.path(name)
        if path.exists():
            known = self.known.pop(path, {})
            whole, last = self.form.rows(path.read_bytes())
            self.may_be |= self.seen.pop(path, {}) | whole | last
            if known and known == whole and not last:
                self.gone[path] = known
            path.unlink()

    # what happens to collectors

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.places[which].restart()

    @rule(which=st.integers(0, 1))
    def collect(self, which: int) -> None:
        self.places[which].collect()
        self._seen_somehow()

    @rule(which=st.integers(0, 1), steps=st.integers(1, 4000))
    def die_while_collecting(self, which: int, steps: int) -> None:
        """Stop the database at some of its instructions: what was not committed goes, as with the process."""
        place, left = self.places[which], iter(range(steps))
        connection = place.store.database.connection
        connection.set_progress_handler(lambda: next(left, None) is None, 1)
        try:
            place.collect()
        except StoreDownError:
            pass
        finally:
            connection.set_progress_handler(None, 1)
        place.store.close()
        self.places[which] = Place(self.root)
        self.places[which].ahead_s = place.ahead_s
        self._seen_somehow()

    @rule(first=st.integers(0, 1), changes=st.booleans())
    def one_collector_overtakes_the_other(self, first: int, changes: bool) -> None:
        slow, fast = self.places[first], self.places[1 - first]
        commit = slow.store.commit

        def late(intakes: list) -> list[bool]:
            slow.store.commit = commit
            if changes:
                self.append("a", 1, None)
            fast.collect()
            return commit(intakes)

        slow.store.commit = late
        slow.collect()
        slow.store.commit = commit
        self._seen_somehow()

    def _seen_somehow(self) -> None:
        """A look that is not checked may have taken in what goes from the files before the next one."""
        for path in self.directory.glob(f"[!.]*{self.form.suffix}"):
            whole, last = self.form.rows(path.read_bytes())
            self.may_be |= {run: value for run, value in (whole | last).items() if path.stem not in NAMES}
            self.seen[path] = self.seen.get(path, {}) | whole | last

    @rule()
    def look(self) -> None:
        for place in self.places:
            place.collect()
            place.ahead_s += 6  # what is half written waits for so long
            place.collect()
        whole: Rows = {}
        unfinished: Rows = {}
        self.seen.clear()
        self.known.clear()
        for path in self.directory.glob(f"[!.]*{self.form.suffix}"):
            rows, last = self.form.rows(path.read_bytes())
            self.seen[path] = rows | last
            self.known[path] = rows
            whole |= rows
            unfinished |= last
        found = [(one["run_id"], one["metrics"]["v"]) for one in self.places[0].documents()]
        assert len(found) == len({run for run, _ in found}), "a row is there twice"
        rows = dict(found)
        missing = {run for run in whole if run not in rows}
        assert missing == set(), "rows of a file are not in the store"
        for rows_of_gone in self.gone.values():
            assert set(rows_of_gone) <= rows.keys(), "rows of a deleted file went"
        for run, value in found:
            if run in whole:
                # a copy says the same of a run, with another value once one of the two was edited
                assert value in self._values_of(run), "a row is not what its file says"
            else:
                assert run in unfinished or run in self.may_be, "a row is in no file"

    def _values_of(self, run: str) -> set[int]:
        pairs = (self.form.rows(path.read_bytes()) for path in self.directory.glob(f"[!.]*{self.form.suffix}"))
        return {rows[run] for whole, last in pairs for rows in (whole, last) if run in rows}


TestCursor = CursorModel.TestCase
TestCursor.settings = depth(15, 25)
