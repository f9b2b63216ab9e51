"""Level rules: which comes first, and that they drop nothing but text."""

from __future__ import annotations

import asyncio
from pathlib import Path

from logferry.checks import build
from logferry.events import CRITICAL, DEBUG, ERROR, INFO, WARNING, level_name
from logferry.layout import NodeDir
from logferry_agent.answers import Answers
from logferry_agent.config import AgentConfig
from logferry_agent.filters import Filters
from logferry_agent.producers import Producers
from support.writerrig import event, rig

LEVELS = (DEBUG, INFO, WARNING, ERROR, CRITICAL)
RULES = {
    "levels": [{"experiment": "exp*", "run": "big*", "level": "WARNING"}, {"experiment": "exp*", "level": "INFO"}],
    "text_levels": [{"event": "Batch*", "level": "WARNING"}],
    "text_level": "INFO",
}


def filters(**overrides: int) -> Filters:
    return Filters(build(AgentConfig, RULES), {tuple(key.split("__")): level for key, level in overrides.items()})


def test_the_first_rule_that_matches_decides() -> None:
    assert filters().level_for("exp1", "big2") == 30
    assert filters().level_for("exp1", "small") == 20
    assert filters().level_for("other", "big2") is None


def test_an_override_stands_above_the_rules_and_one_of_the_run_above_all() -> None:
    found = filters(exp1__=10, exp1__big2=40)
    assert (found.level_for("exp1", "big2"), found.level_for("exp1", "small")) == (40, 10)
    found.override("exp1", "big2", None)
    assert found.level_for("exp1", "big2") == 10


def test_a_level_that_cannot_be_kept_is_refused_and_the_one_before_stays(root: Path) -> None:
    async def main() -> None:
        async with rig(root) as one:
            rules = filters()
            node, producers = NodeDir(root / "node"), Producers(one.journal.ledger)
            answers = Answers(
                node, root, one.journal, producers, one.state, one.writer, lambda: rules, list, one.loop.time
            )
            asked = {"experiment": "exp", "run": "run1"}
            assert (await answers.answer("level", {**asked, "level": ERROR}))["level"] == ERROR
            full = "BEFORE INSERT ON levels BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            one.state._db.execute(f"CREATE TEMP TRIGGER full {full}")
            assert "disk is full" in (await answers.answer("level", {**asked, "level": DEBUG}))["error"]
            assert one.state.levels() == {("exp", "run1"): ERROR}
            assert rules.level_for("exp", "run1") == ERROR

    asyncio.run(main())


def test_text_shows_events_by_pattern_then_by_level_and_always_gaps() -> None:
    found = filters()
    assert not found.in_text("BatchProcessed", 20)
    assert found.in_text("BatchProcessed", 30)
    assert not found.in_text("Other", 10)
    assert found.in_text("logferry.gap", 10)
    assert not found.in_text("logferry.result", 50)


def test_the_text_file_has_what_the_rules_let_through_and_the_json_lines_have_all(root: Path) -> None:
    async def main() -> None:
        async with rig(root, text=True, **RULES) as one:
            one.hello("aaaaaaaa")
            one.events("aaaaaaaa", 1, event("BatchProcessed", i=1), event("EpochEnd", i=2), event("EpochEnd", level=10))
            await one.quiet()
            assert len(one.lines()) == 3
            assert (one.run_logs().path / "node7.log").read_text() == "2025-07-30 13:00:00 [INFO] EpochEnd: i=2\n"

    asyncio.run(main())


def test_after_a_kill_what_text_was_not_checkpointed_is_written_as_the_configuration_of_then_says(root: Path) -> None:
    """Whichever of the two renderings is the longer, nothing of the other is left."""

    async def main() -> None:
        for life, least in enumerate((DEBUG, ERROR, INFO)):
            async with rig(root, text=True, text_level=level_name(least), checkpoint_s=60) as one:
                if not life:
                    one.hello("aaaaaaaa")
                    one.events("aaaaaaaa", 1, event("Saved", level=DEBUG))
                    await one.quiet()
                    one.events("aaaaaaaa", 2, *(event(f"At{level}", level=level) for level in LEVELS))
                path = one.run_logs().path / "node7.log"
                expected = ["Saved", *(f"At{level}" for level in LEVELS if level >= least)]
                await one.until(lambda: [line.split()[-1] for line in path.read_text().splitlines()] == expected)  # noqa: B023

    asyncio.run(main())
