"""Whether plain data has a float that cannot be believed: the fast JSON library is exact but for those."""

from __future__ import annotations

from typing import Any


def has_float_beyond(limit: float, value: Any) -> bool:
    """Say whether plain data has NaN, or a float that is not between the limit and its opposite."""
    found: list[Any] = [(value,)]
    for some in found:
        for one in some:
            kind = type(one)
            if kind is float:
                if not -limit < one < limit:
                    return True
            elif kind is dict:
                found.append(one.values())
            elif kind is list:
                found.append(one)
    return False
