"""Whatever happens to an appended file between two looks, the store holds the rows that the file holds."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.collecting import Place


class AppendedFile(RuleBasedStateMachine):
    """The model is the file's own content; rows of files that are gone stay."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lf-"))
        self.place = Place(self.root)
        self.path = self.place.home.results / "e" / "all.jsonl"
        self.path.parent.mkdir(parents=True)
        self.made = 0
        self.kept: set[str] = set()
        self.looked = False

    def teardown(self) -> None:
        self.place.store.close()
        shutil.rmtree(self.root)

    def next_row(self) -> str:
        self.made += 1
        self.looked = False
        return json.dumps({"run_id": f"r{self.made:05d}"})

    @rule(count=st.integers(1, 4), torn=st.booleans())
    def append(self, count: int, torn: bool) -> None:
        with self.path.open("a") as file:
            file.write("".join(self.next_row() + "\n" for _ in range(count)))
            file.write(self.next_row()[:-3] if torn else "")

    @rule()
    def finish_the_last_line(self) -> None:
        if self.path.exists() and self.path.read_bytes()[-1:] not in {b"", b"\n"}:
            self.looked = False
            with self.path.open("a") as file:
                file.write('1"}\n')

    @rule(count=st.integers(0, 6))
    def truncate_and_write(self, count: int) -> None:
        if self.path.exists():
            os.truncate(self.path, 0)
        self.append(count, torn=False)
        self.looked = False

    @rule(count=st.integers(0, 6))
    def replace(self, count: int) -> None:
        new = self.path.with_name(".new")
        new.write_text("".join(self.next_row() + "\n" for _ in range(count)))
        new.rename(self.path)
        self.looked = False

    @rule()
    def rename(self) -> None:
        if self.path.exists() and self.looked:
            self.kept |= self.held_by_the_file()
            self.path.rename(self.path.with_name(f"old-{self.made}.jsonl"))

    @rule()
    def delete(self) -> None:
        if self.path.exists() and self.looked:
            self.kept |= self.held_by_the_file()
            self.path.unlink()

    @rule()
    def restart(self) -> None:
        self.place.restart()

    @rule()
    def look(self) -> None:
        self.place.collect()
        self.place.ahead_s += 1  # past the clock's tick
        self.place.collect()
        self.looked = True

    def held_by_the_file(self) -> set[str]:
        if not self.path.exists():
            return set()
        whole = self.path.read_bytes().split(b"\n")[:-1]
        return {row["run_id"] for row in map(_loaded, whole) if row}

    @invariant()
    def the_store_holds_what_the_file_holds(self) -> None:
        if self.looked:
            found = set(self.place.ids())
            assert self.held_by_the_file() <= found
            assert found <= self.held_by_the_file() | self.kept | self.unfinished()

    def unfinished(self) -> set[str]:
        """A last line that parses without its line feed may be in or not."""
        row = _loaded(self.path.read_bytes().split(b"\n")[-1]) if self.path.exists() else None
        return {row["run_id"]} if row else set()


def _loaded(line: bytes) -> dict[str, str] | None:
    try:
        row: dict[str, str] = json.loads(line)
    except ValueError:
        return None
    return row


TestAppendedFile = AppendedFile.TestCase
TestAppendedFile.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
