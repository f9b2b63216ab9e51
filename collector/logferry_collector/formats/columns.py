"""From flat columns to a result document: which column is an id, a setting, an outcome or something else.

The rules, the first that fits decides (docs/results.md has them as a table):

1. what the user says in `[collector.columns]`;
2. the names that W&B's and MLflow's exports use, where the other columns show that it is one (names.py);
3. the fields of a result document by their own names;
4. a prefix: `config.` `config_` `config/` `params.` …, `metrics.` `summary.` …, `environment.`, `exit.`;
5. well-known words: `lr` and `seed` are settings, `acc` and `val_loss` are outcomes;
6. everything else stays as a field of its own name: whether a number was chosen or found is not guessed.

Values of another kind than their place are moved afterwards (kinds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from logferry.results import FIELDS
from logferry_collector.formats import kinds, meaning
from logferry_collector.formats.values import literal, plain

Path = tuple[str, ...]
_MAPS = frozenset({"config", "metrics", "environment", "exit"})
_CONTAINERS = _MAPS | {"tags"}
# What these keys have is a document of our own: a result, a part of one, an edit (logferry.edits).
_WHOLE = frozenset({"metrics", "edit"})
# Names of all plans that are kept, each of a few hundred bytes: every shape of document has a plan.
_MAX_NAMES = 100_000
# Of a name with more dots than anybody nests maps, they are signs as others are.
_MAX_LEVELS = 20


class Columns:
    """Which column goes where.

    Args:
        own: the user's rules: a name, or a pattern as in file names, and where it goes: a field (`run_id`), a dotted
            key (`config.lr`), or `config` or `metrics` for the key of the column's own name.

    """

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        self._own = dict(own or {})
        self._plans: dict[tuple[Path, bool], Plan] = {}
        self._kept = 0

    def plan(self, names: Sequence[str], *, text: bool = False) -> Plan:
        """Return how rows with these columns become documents; `text`: their values are the text of cells."""
        key = (tuple(names), text)
        found = self._plans.get(key)
        if found is None:
            found = Plan(self._targets(names), text=text)
            if self._kept + len(names) > _MAX_NAMES:
                self._plans.clear()
                self._kept = 0
            if len(names) <= _MAX_NAMES:
                self._plans[key] = found
                self._kept += len(names)
        return found

    def nested(self, document: Any) -> Any:
        """Return a document as it is if it has `metrics`, else as what a row with its keys for columns is."""
        if type(document) is not dict or not _WHOLE.isdisjoint(document):
            return document
        return self.plan(tuple(document)).document(document.values())

    def _targets(self, names: Sequence[str]) -> list[Path]:
        export = meaning.export_of(names)
        targets = [self._by_rule(name) or export.get(name) or _by_name(name) for name in names]
        leaves = set(targets)
        # `config.a` beside `config.a.b`: a key cannot be a value and a map, so the longer one keeps its dots.
        return [
            path if not any(path[:size] in leaves for size in range(2, len(path))) else (path[0], ".".join(path[1:]))
            for path in targets
        ]

    def _by_rule(self, name: str) -> Path | None:
        rule = self._own.get(name)
        if rule is None:
            rule = next((rule for pattern, rule in self._own.items() if fnmatchcase(name, pattern)), None)
        if rule is None:
            return None
        return (rule, name) if rule in _MAPS else tuple(rule.split("."))


def _by_name(name: str) -> Path:
    if name in FIELDS:
        return (name,)
    for prefix, section in meaning.PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return _dotted(section, name[len(prefix) :])
    section = meaning.section_of_word(name)
    if section:
        return (section, name)
    return (name.lstrip("+") or name,)


def _dotted(section: str, name: str) -> Path:
    parts = tuple(name.split("."))
    return (section, *parts) if all(parts) and len(parts) < _MAX_LEVELS else (section, name)


class Plan:
    """How the values of a row become a document."""

    def __init__(self, targets: Sequence[Path], *, text: bool) -> None:
        self._cells: list[tuple[Path, Callable[[Any], Any]]] = [(path, _converter(path, text=text)) for path in targets]

    def document(self, values: Iterable[Any]) -> dict[str, Any]:
        """Return the document of a row; a value that is missing makes no key.

        Raises:
            ValueError: a value is nested too deep.

        """
        document: dict[str, Any] = {}
        for (path, convert), value in zip(self._cells, values, strict=True):
            found = convert(value)
            if found is None:
                continue
            if len(path) == 1:
                known = document.get(path[0])
                if isinstance(known, dict):
                    found = known | (found if isinstance(found, dict) else {path[0]: found})
                document[path[0]] = found
                continue
            inner = document
            for part in path[:-1]:
                below = inner.get(part)
                if not isinstance(below, dict):
                    below = inner[part] = {} if below is None else {part: below}
                inner = below
            inner[path[-1]] = found
        kinds.placed(document)
        meaning.completed(document)
        return document


def _converter(path: Path, *, text: bool) -> Callable[[Any], Any]:
    special = meaning.CONVERTERS.get(path[0]) if len(path) == 1 else None
    if not text and len(path) == 1 and path[0] in _CONTAINERS:
        # Tables with types have no maps, and say them as text.
        return lambda value: _contained(plain(value), special)
    if special is None:
        return literal if text else plain
    if not text:
        return lambda value: None if (found := plain(value)) is None else special(found)
    if path[0] in meaning.TEXTS:
        return lambda value: value or None
    return lambda value: None if (found := literal(value)) is None else special(found)


def _contained(value: Any, special: Callable[[Any], Any] | None) -> Any:
    found = literal(value) if isinstance(value, str) and value[:1] in {"{", "["} else value
    return found if special is None or found is None else special(found)
