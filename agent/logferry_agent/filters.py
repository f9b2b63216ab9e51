"""Level rules. No I/O.

Two kinds: which level producers are told to log from, by experiment and run; and from which level on events appear in
the text rendering, by the event's name. They drop nothing that was acked: the JSON lines hold every durable event.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from logferry.events import RESULT, SYSTEM_PREFIX
from logferry_agent.config import AgentConfig

_MAX_CACHED = 4096


class Filters:
    """The rules of one configuration, and the overrides by `logferry level`, which stand above them."""

    def __init__(self, config: AgentConfig, overrides: Mapping[tuple[str, str], int]) -> None:
        self._config = config
        self._overrides = dict(overrides)
        self._text: dict[str, int] = {}

    def level_for(self, experiment_id: str, run_id: str) -> int | None:
        """Return the level that the producers of a run are to log from; None: their own.

        An override of the run comes before one of the experiment, that before the first rule that matches.
        """
        for key in ((experiment_id, run_id), (experiment_id, "")):
            if key in self._overrides:
                return self._overrides[key]
        for rule in self._config.levels:
            if fnmatchcase(experiment_id, rule.experiment) and fnmatchcase(run_id, rule.run):
                return rule.level
        return None

    def override(self, experiment_id: str, run_id: str, level: int | None) -> None:
        """Set or (None) remove an override; `run_id` is "" for all runs of the experiment."""
        self._overrides.pop((experiment_id, run_id), None)
        if level is not None:
            self._overrides[experiment_id, run_id] = level

    def in_text(self, event: str, level: int) -> bool:
        """Say whether an event appears in the text rendering: by the first rule that matches, else by its level.

        Of the system's own events, result documents never do; gap markers and seals always do.
        """
        if event.startswith(SYSTEM_PREFIX):
            return event != RESULT
        least = self._text.get(event)
        if least is None:
            if len(self._text) >= _MAX_CACHED:
                self._text.clear()
            least = self._text[event] = self._text_level(event)
        return level >= least

    def _text_level(self, event: str) -> int:
        for rule in self._config.text_levels:
            if fnmatchcase(event, rule.event):
                return rule.level
        return self._config.text_level
