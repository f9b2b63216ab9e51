"""Upkeep looks after each run on its own: what cannot be listed or removed is said and shown, and stops no other."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import shutil
import sqlite3
import weakref
from pathlib import Path
from typing import Any

import pytest

from logferry.cli import NO
from logferry.layout import host_name
from logferry_agent import prune, upkeep
from logferry_agent.rotation import in_order
from support.writerrig import Rig, rig

SMALL: dict[str, Any] = {"rotate_bytes": 4096, "compress": "none"}


async def two_runs(one: Rig) -> None:
    """Have two runs of two experiments with three files and more each."""
    for name, experiment in (("aaaaaaaa", "exp"), ("bbbbbbbb", "other")):
        one.hello(name, experiment=experiment)
        for first in range(1, 201, 50):
            one.steps(name, first, first + 49)
            await one.quiet()


def names(one: Rig, experiment: str) -> list[str]:
    directory = one.run_logs(experiment=experiment).path
    return [path.name for path in directory.glob("*.jsonl*")]


def refusing(function: Any, refused: Path) -> Any:
    def refuse(path: Any = ".") -> Any:
        if Path(path) == refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return function(path)

    return refuse


@pytest.mark.parametrize("what", ["run", "experiment"])
def test_a_directory_that_cannot_be_listed_keeps_its_files_and_no_others(
    root: Path, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(root, **SMALL, keep_files=1) as one:
            await two_runs(one)
            path = one.run_logs().path if what == "run" else one.run_logs().path.parent
            with monkeypatch.context() as patch:
                patch.setattr(os, "listdir", refusing(os.listdir, path))
                patch.setattr(os, "scandir", refusing(os.scandir, path))
                for seconds in range(3):
                    one.now += seconds * 10**9
                    await one.writer.prune()
                (held,) = one.writer.held()
                assert (held.what, held.path, held.error) == ("retention", str(path), os.strerror(errno.EIO))
                assert held.since_ns < one.now
                assert sum(str(path) in line for line in caplog.messages) == 1
            assert (len(names(one, "exp")) >= 3, len(names(one, "other"))) == (True, 1)
            await one.writer.prune()
            assert (one.writer.held(), len(names(one, "exp"))) == ([], 1)

    asyncio.run(main())


def test_so_does_a_file_that_cannot_be_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with rig(root, **SMALL, keep_files=1) as one:
            await two_runs(one)
            path = one.run_logs().path / min(names(one, "exp"))
            with monkeypatch.context() as patch:
                patch.setattr(Path, "lstat", refusing(Path.lstat, path))
                await one.writer.prune()
            assert [problem.path for problem in one.writer.held()] == [str(path)]
            assert (path.exists(), len(names(one, "other"))) == (True, 1)

    asyncio.run(main())


def test_the_verb_without_an_agent_says_what_it_could_not_list(
    root: Path, home: Path, node_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with rig(root, host=host_name(), **SMALL) as one:
            await two_runs(one)

    asyncio.run(main())
    (root / "logferry.toml").write_text("[agent]\nkeep_files = 1\n")
    monkeypatch.setenv("LOGFERRY_CONFIG", str(root / "logferry.toml"))
    unlisted = home / "logs" / "exp" / "run1"
    monkeypatch.setattr(os, "listdir", refusing(os.listdir, unlisted))
    assert prune.prune(["--json"]) == NO
    said = json.loads(capsys.readouterr().out)
    assert (said["failed"], len(said["removed"]) > 1) == ({str(unlisted): os.strerror(errno.EIO)}, True)


def test_a_database_that_does_not_answer_ends_no_upkeep(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logferry_agent.upkeep._SCAN_S", 0.05)
    monkeypatch.setattr("logferry_agent.upkeep._EVERY_S", 0.02)

    def refuse() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def main() -> None:
        async with rig(root, **SMALL, keep_files=1) as one:
            with monkeypatch.context() as patch:
                patch.setattr(one.state, "current_files", refuse)
                await two_runs(one)
                await one.until(lambda: any("disk I/O" in problem.error for problem in one.writer.held()))
                with pytest.raises(sqlite3.OperationalError):  # whoever asks for it is told
                    await one.writer.prune()
            await one.until(lambda: len(names(one, "exp")) == len(names(one, "other")) == 1)
            await one.until(lambda: not one.writer.held())

    asyncio.run(main())


def test_a_directory_that_cannot_be_listed_keeps_no_other_from_being_compressed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logferry_agent.upkeep._EVERY_S", 0.02)

    async def main() -> None:
        async with rig(root, **SMALL) as one:
            await two_runs(one)
        async with rig(root, rotate_bytes=4096, compress="zstd") as one:
            path = one.run_logs().path
            with monkeypatch.context() as patch:
                patch.setattr(os, "listdir", refusing(os.listdir, path))
                await one.writer._upkeep._scan()
                await one.until(lambda: not one.writer._upkeep._to_compress)
                (held,) = one.writer.held()
                assert (held.what, held.path) == ("compression", str(path))
            assert (any_packed(one, "exp"), any_packed(one, "other")) == (False, True)
            await one.writer._upkeep._scan()
            await one.until(lambda: any_packed(one, "exp"))
            assert one.writer.held() == []

    asyncio.run(main())


def any_packed(one: Rig, experiment: str) -> bool:
    return any(log.packed for log in in_order(os.listdir(one.run_logs(experiment=experiment).path)))


def test_a_run_that_somebody_deletes_meanwhile_keeps_no_other_from_retention(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with rig(root, **SMALL, keep_files=1) as one:
            await two_runs(one)
            remove = prune.remove

            def removed(*given: Any) -> None:
                remove(*given)
                shutil.rmtree(one.run_logs().path, ignore_errors=True)

            monkeypatch.setattr("logferry_agent.upkeep.remove", removed)
            await one.writer.prune()
            assert (one.writer.held(), len(names(one, "other"))) == ([], 1)

    asyncio.run(main())


def test_an_output_that_is_dropped_is_gone_without_a_collection(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_EVERY_S", 0.01)
    monkeypatch.setattr(upkeep, "_REST_S", 0.05)

    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa")
            one.steps("aaaaaaaa", 1, 20)
            await one.until(lambda: one.writer._outputs)
            known = [weakref.ref(output) for output in one.writer._outputs.values()]
            await one.until(lambda: all(output() is None for output in known), 10)
            assert one.seqs() == [f"aaaaaaaa-{number}" for number in range(1, 21)]

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
