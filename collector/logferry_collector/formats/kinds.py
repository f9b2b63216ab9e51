"""Values whose kind says more of their place than the name of their column: maps where a word is expected, or no map.

* A map under a word for settings or outcomes is that section: `{"args": {"lr": 0.1}, "results": {"acc": 0.9}}`.
* A map of nothing but outcomes is one: `{"test": {"loss": 0.3, "acc": 0.9}}`.
* What a field of ours cannot hold is a setting that has the field's name: `model: {"name": "vit", "depth": 12}`,
  `environment: CartPole-v1`, `config: conf/vit.yaml`, `revision: 1f3a2b`.
"""

from __future__ import annotations

from typing import Any

from logferry.results import FIELDS
from logferry_collector.formats import meaning

_SECTIONS = {
    **dict.fromkeys("params param args hparams hyperparameters hyper_parameters".split(), "config"),
    **dict.fromkeys("metric summary results scores".split(), "metrics"),
}
_MAPS = frozenset({"config", "environment"})
_NUMBERS = frozenset({"attempt", "revision"})
_FIELDS = frozenset(FIELDS)


def placed(document: dict[str, Any]) -> None:
    """Move the values of a row that are of another kind than their place."""
    for name, value in list(document.items()):
        if type(value) is dict:
            section = _SECTIONS.get(name, "")
            if section:
                document[section] = value | _section(document, section)
                del document[name]
            elif name in meaning.TEXTS:
                _section(document, "config").setdefault(name, document.pop(name))
            elif name not in _FIELDS and _are_outcomes(name, value):
                _section(document, "metrics").setdefault(name, document.pop(name))
        elif name in _MAPS or (name in _NUMBERS and type(value) is not int):
            del document[name]
            _section(document, "config").setdefault(name, value)


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a document, made if it is not there; a value in its place goes into it."""
    found = document.get(name)
    if type(found) is not dict:
        document[name] = {} if found is None else {name: found}
    return document[name]  # type: ignore[no-any-return]


def _are_outcomes(name: str, values: dict[str, Any]) -> bool:
    return bool(values) and all(meaning.section_of_word(f"{name}.{key}") == "metrics" for key in values)
