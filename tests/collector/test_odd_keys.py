"""Keys of any signs are found, compared, sorted and grouped by, on every store alike; or they are not known at all."""

from __future__ import annotations

import random

import pytest

from logferry_collector.where import WhereError
from support.collecting import Place

_SIGNS = [*"ab01 .,:;'?%$@#*~=!<>()[]{}|/&^+-_", "->", "::", "--", "/*", " and ", "ä", "\u0130", "\U0001f600"]
_RANDOM = random.Random(5)
NAMES = [
    *(
        "learning rate",
        "it's",
        "x[0]",
        "$.a",
        "a->b",
        "$[#-1]",
        "[*]",
        "%s",
        "%(x)s",
        "?",
        "a..b",
        ".",
        " lead",
        "trail ",
    ),
    *(
        "and",
        "null",
        "-7d",
        "1e5",
        "0",
        "A",
        "a",
        "config.x",
        "metrics.y",
        "status",
        "last",
        "'",
        "''",
        "~",
        "*",
        "a*b",
    ),
    *dict.fromkeys("".join(_RANDOM.choices(_SIGNS, k=_RANDOM.randint(2, 6))) for _ in range(15)),
]
NOT_KNOWN = ['a"b', "a\\b", "a\tb", "a\u2028b"]


def test_a_key_of_any_signs_is_found_sorted_and_grouped_by(each_place: Place) -> None:
    place, ids = each_place, [f"r{number:02}" for number in range(len(NAMES))]
    place.append(
        "e/r.jsonl",
        *(
            {"run_id": run, "config": {name: number, "in": {name: f"t{number}"}}, "metrics": {name: number / 2}}
            for number, (run, name) in enumerate(zip(ids, NAMES, strict=True))
        ),
    )
    place.collect()
    for number, (run, name) in enumerate(zip(ids, NAMES, strict=True)):
        config = f'config."{name}" = {number} and config.in."{name}" = t{number}'
        assert place.ids(f'{config} and metrics."{name}" >= {number / 2} and metrics."{name}" is not null') == [run]
        assert next(iter(place.reader.results(sort=f"metrics.{name}", limit=1)))["run_id"] == run
        (group,) = place.reader.results(f"run_id = {run}").group(f"config.{name}", metrics=[f"metrics.{name}"])
        assert [*group.values()][:4] == [number, 1, 1, number / 2]


def test_a_key_that_no_path_can_name_is_kept_and_not_known(each_place: Place) -> None:
    config = {name: number for number, name in enumerate(NOT_KNOWN)} | {"lr": 1}
    each_place.write("e/r.json", {"config": config, "metrics": {}})
    each_place.collect()
    (document,) = each_place.documents("lr = 1")
    assert document["config"] == config
    for name in NOT_KNOWN:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        with pytest.raises(WhereError, match="no result has a key"):
            each_place.reader.results(f'config."{quoted}" = 1')
