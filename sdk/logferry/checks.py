"""A program's table of the configuration file, as a frozen dataclass whose fields carry what they may hold.

A check takes what the file says and returns what the program uses, or raises `FaultsError`. Everything that is wrong is
said at once, each fault with the file and the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, TypeVar

from logferry.events import level_number
from logferry.settings import SettingsError, program_table

Check = Callable[[Any], Any]
T = TypeVar("T")
# Beyond every quantity of ours, and within what SQLite stores.
_MOST = 1 << 62


class FaultsError(ValueError):
    """What is wrong with a value: pairs of the path of a part of it (empty: the whole) and what is expected there."""

    def __init__(self, *found: tuple[str, str]) -> None:
        super().__init__(*found)
        self.found = found


def setting(check: Check, default: Any = MISSING) -> Any:
    """Return a field of a configuration; without a default the file must have it."""
    return field(default=default, metadata={"check": check})


def load(path: Path | None, program: str, model: type[T]) -> T:
    """Return a program's configuration as a file has it; the defaults without one.

    Raises:
        SettingsError: names the file, the keys and what is expected of them.

    """
    try:
        return build(model, program_table(path, program))
    except FaultsError as faults:
        said = "; ".join(f"{program}{where}: {what}" for where, what in faults.found)
        raise SettingsError(f"{path}: {said}") from faults


def build(model: type[T], table: Mapping[str, Any]) -> T:
    """Return the configuration that a table describes.

    Raises:
        FaultsError: keys that are unknown or missing, and values that are refused.

    """
    known = {one.name: one for one in fields(model)}  # type: ignore[arg-type]
    needed = [name for name, one in known.items() if one.default is one.default_factory is MISSING]
    faults = [(f".{key}", f"unknown key; known are {', '.join(sorted(known))}") for key in table if key not in known]
    faults += [(f".{name}", "missing; it has no default") for name in needed if name not in table]
    values = {}
    for key in known.keys() & table.keys():
        try:
            values[key] = known[key].metadata["check"](table[key])
        except FaultsError as error:
            faults += [(f".{key}{where}", what) for where, what in error.found]
    if faults:
        raise FaultsError(*faults)
    return model(**values)


def number(least: float, most: float = _MOST, *, whole: bool = False) -> Check:
    """Accept numbers from `least` to `most`."""
    what = f"a {'whole ' if whole else ''}number, {least} or more" + (f", at most {most}" if most < _MOST else "")

    def check(value: Any) -> Any:
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        return value if fits and least <= value <= most else _refuse(what, value)

    return check


def text(most: int = 256) -> Check:
    """Accept strings that are not empty."""

    def check(value: Any) -> Any:
        fits = isinstance(value, str) and 0 < len(value) <= most
        return value if fits else _refuse(f"a string of 1 to {most} characters", value)

    return check


def choice(*allowed: str) -> Check:
    """Accept one of some words."""
    return lambda value: value if value in allowed else _refuse(f"one of {', '.join(map(repr, allowed))}", value)


def flag(value: Any) -> Any:
    """Accept true and false."""
    return value if isinstance(value, bool) else _refuse("true or false", value)


def level(value: Any) -> int:
    """Accept the name of a level or its number."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        _refuse("a level", value)
    try:
        return level_number(value)
    except ValueError as error:
        raise FaultsError(("", str(error))) from error


def list_of(model: type[T]) -> Check:
    """Accept a list of tables."""

    def check(value: Any) -> tuple[T, ...]:
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            _refuse("a list of tables", value)
        built: list[T] = []
        faults: list[tuple[str, str]] = []
        for place, one in enumerate(value):
            try:
                built.append(build(model, one))
            except FaultsError as error:
                faults += [(f"[{place}]{where}", what) for where, what in error.found]
        if faults:
            raise FaultsError(*faults)
        return tuple(built)

    return check


def _refuse(expected: str, value: Any) -> Any:
    raise FaultsError(("", f"expected {expected}, is {str(value)[:60]!a}"))
