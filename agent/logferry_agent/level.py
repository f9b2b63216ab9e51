"""Verb `level`: change the level of running jobs, at once."""

from __future__ import annotations

import json

from logferry.cli import FINE, NO, Parser, UsageError, printable, say, settings_of
from logferry.events import level_name, level_number
from logferry.layout import safe_component
from logferry_agent.asking import ask


def level(arguments: list[str]) -> int:
    """Verb: tell the agent which level the producers of an experiment, or of one run, log from."""
    parser = Parser("level")
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("level", metavar="LEVEL", nargs="?", help="DEBUG, INFO, WARNING, ERROR, CRITICAL or a number")
    parser.add_argument("--run", default="", help="only this run of the experiment")
    parser.add_argument("--reset", action="store_true", help="back to what rules and jobs say themselves")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if (options.level is None) != options.reset:
        raise UsageError("level: give either a LEVEL or --reset")
    try:
        number = None if options.reset else level_number(_given(options.level))
        safe_component(options.experiment, "experiment id")
        if options.run:
            safe_component(options.run, "run id")
    except ValueError as error:
        raise UsageError(f"level: {error}") from error
    settings = settings_of(options)
    question = {"experiment": options.experiment, "run": options.run, "level": number}
    answer = ask(settings, "level", question) or {"error": f"no agent answers at {settings.node_dir}"}
    if options.json:
        print(json.dumps(answer))
    if "error" in answer:
        say(f"logferry level: {printable(answer['error'])}; 'logferry status' says more")
        return NO
    if not options.json:
        said = "as rules and jobs say" if number is None else level_name(number)
        print(f"{printable(options.experiment)}: {said}; connected producers told: {answer['producers']}")
    return FINE


def _given(text: str) -> int | str:
    return int(text) if text.isdigit() else text
