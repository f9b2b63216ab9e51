"""Tables in JSON as pandas writes them: by columns, which is its default, by index, split, or with a schema.

A list of maps, its `records`, is what everybody writes, and needs nothing.
"""

from __future__ import annotations

from typing import Any

from logferry_collector.formats.meaning import section_of_word

_SPLIT = {"columns", "index", "data"}


def rows_of(value: Any) -> Any:
    """Return a table's rows as a list of maps; what is none of pandas' tables as it is."""
    if type(value) is not dict or not value:
        return value
    if value.keys() == _SPLIT and _are(list, *value.values(), *value["data"]):
        names = [str(name) for name in value["columns"]]
        if all(len(row) == len(names) for row in value["data"]):
            return [dict(zip(names, row, strict=True)) for row in value["data"]]
    if value.keys() == {"schema", "data"} and _are(list, value["data"]) and _are(dict, value["schema"], *value["data"]):
        return value["data"]
    if not _are(dict, *value.values()):
        return value
    if _counts(value):  # by index
        return list(value.values())
    rows = next(iter(value.values())).keys()
    # Maps of outcomes by class may look the same, and have no column that is anything else.
    outcomes = all(section_of_word(name) == "metrics" for name in value)
    if _counts(rows) and not outcomes and all(column.keys() == rows for column in value.values()):
        return [{name: column[row] for name, column in value.items()} for row in rows]
    return value


def _are(kind: type, *values: Any) -> bool:
    return all(type(one) is kind for one in values)


def _counts(keys: Any) -> bool:
    """Say whether keys are the numbers from 0 on."""
    return bool(keys) and all(key == str(number) for number, key in enumerate(keys))
