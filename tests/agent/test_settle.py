"""A run that dies still has a result: what the agent writes when producers end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from logferry import results
from logferry_agent.producers import Producer
from logferry_agent.seal import ending, seal_fields
from logferry_agent.settle import settle
from logferry_agent.state import Unsettled
from support.writerrig import START_NS, Rig, event, rig

SEAL = {"end": "vanished", "time_ns": START_NS}


def document(status: str = "RUNNING", revision: int = 1, **more: Any) -> dict[str, Any]:
    known = {
        "experiment_id": "exp",
        "run_id": "run1",
        "owner": "aaaaaaaa",
        "attempt": 1,
        "started": "2025-07-30T13:00:00Z",
    }
    return {**known, "status": status, "revision": revision, **more}


def settled(present: Any, passed: Any, *, alive: bool = False, owner: str = "aaaaaaaa") -> Any:
    return settle(present, Unsettled("exp", "run1", passed, {owner: SEAL}), None, alive=alive)


def test_a_dead_owner_makes_a_running_result_killed() -> None:
    found = settled(document(), None)
    assert (found["status"], found["revision"], found["exit"]) == ("KILLED", 2, {"reason": "vanished"})
    assert found["timestamp"].startswith("2025-07-30T13:00:00.123456")


def test_a_result_is_not_killed_while_a_producer_of_the_run_lives() -> None:
    assert settled(document(), None, alive=True) is None


def test_a_result_of_another_owner_is_left_alone() -> None:
    assert settled(document(owner="bbbbbbbb"), None) is None


def test_a_final_document_in_the_spool_is_written_where_the_file_lacks_it() -> None:
    final = document("COMPLETED", 3)
    assert settled(document(revision=2), final) == final
    assert settled(None, final) == final


def test_a_final_file_is_right_as_it_is() -> None:
    assert settled(document("COMPLETED", 3), document("COMPLETED", 3)) is None
    assert settled(document("FAILED", 3), document("RUNNING", 2)) is None


def test_metrics_that_reached_only_the_spool_survive_a_kill() -> None:
    found = settled(document(revision=1), document(revision=2, metrics={"loss": 0.5}))
    assert (found["status"], found["revision"], found["metrics"]) == ("KILLED", 3, {"loss": 0.5})


def test_a_later_attempt_is_not_overwritten_by_an_earlier_one() -> None:
    assert settled(document(attempt=2, owner="bbbbbbbb"), document("COMPLETED", 9)) is None


def written(one: Rig) -> dict[str, Any]:
    return results.read(one.home.result("exp", "run1"))


def test_a_seal_of_the_owner_settles_the_result(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa", owner=True)
            results.create(one.home.result("exp", "run1"), document())
            one.steps("aaaaaaaa", 1, 10)
            one.seal("aaaaaaaa", 10, end="vanished")
            await one.until(lambda: written(one)["status"] == "KILLED")

    asyncio.run(main())


def test_a_results_directory_that_is_no_directory_delays_the_result_and_does_not_lose_it(
    root: Path, monkeypatch
) -> None:
    monkeypatch.setattr("logferry_agent.settle._RETRY_S", 0.02)

    async def main() -> None:
        async with rig(root) as one:
            one.home.results.write_text("in the way")
            one.hello("aaaaaaaa", owner=True)
            one.events("aaaaaaaa", 1, event("logferry.result", level=0, **document("COMPLETED", 2)))
            one.seal("aaaaaaaa", 1)
            await one.until(one.writer.held)
            assert one.writer.held()[0].what == "result"
        (root / "home" / "results").unlink()
        async with rig(root) as one:
            await one.until(one.home.result("exp", "run1").exists)
            assert written(one)["status"] == "COMPLETED"

    asyncio.run(main())


def test_a_result_that_can_be_written_again_is_said_to_be(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("logferry_agent.settle._RETRY_S", 0.02)
    caplog.set_level("INFO", "logferry_agent")

    async def main() -> None:
        async with rig(root) as one:
            one.home.results.write_text("in the way")
            one.hello("aaaaaaaa", owner=True)
            one.seal("aaaaaaaa", 0, end="vanished")
            await one.until(one.writer.held)
            one.home.results.unlink()
            await one.until(lambda: not one.writer.held())

    asyncio.run(main())
    assert [line.split(" ")[-1] for line in caplog.messages if "result" in line][-1] == "again"


def test_so_does_one_of_whom_nothing_else_is_known_once_the_results_can_be_written(root: Path) -> None:
    """Its row went while the directory of results was full."""

    async def main() -> None:
        async with rig(root) as one:
            one.home.results.write_text("in the way")
            one.hello("aaaaaaaa", owner=True)
            row = Producer("aaaaaaaa", one.abouts["aaaaaaaa"])
            one.dead.add("aaaaaaaa")
            fields = seal_fields(row, {}, ending(None, {}, "vanished"))
            one.agent_events.append("aaaaaaaa", event("logferry.seal", one.now, **fields))
            await one.until(one.writer.held)
            one.abouts.clear()
            one.home.results.unlink()
            await one.quiet()
            assert (written(one)["status"], written(one)["owner"]) == ("KILLED", "aaaaaaaa")

    asyncio.run(main())


def test_an_owner_that_died_before_any_document_still_gets_a_result(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            one.hello("aaaaaaaa", owner=True, started_ns=START_NS)
            one.steps("aaaaaaaa", 1, 3)
            one.seal("aaaaaaaa", 3, end="vanished")
            await one.until(one.home.result("exp", "run1").exists)
            assert (written(one)["status"], written(one)["owner"]) == ("KILLED", "aaaaaaaa")

    asyncio.run(main())
