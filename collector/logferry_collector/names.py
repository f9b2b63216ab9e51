"""The names that keys have: what a name in a query means, and which were meant by one that is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from logferry.results import FIELDS
from logferry_collector.where import SECTIONS, Key, WhereError


class Names:
    """The keys that there are.

    A name is a field of the document (`status`), `config.x` or `metrics.x`; a bare one is looked for in this order.
    Dots go into nested maps, or are part of a name: whichever there is.
    """

    def __init__(self, known: Sequence[Key]) -> None:
        order = {section: rank for rank, section in enumerate(SECTIONS)}
        self.known = sorted(known, key=lambda key: order[key.section])
        self._by_name: dict[str, Key] = {}
        for key in self.known:
            self._by_name.setdefault(key.name, key)
            self._by_name.setdefault(key.full_name, key)
        self._by_name.update((name, Key("field", (name,))) for name in FIELDS)

    def resolve(self, name: str) -> Key:
        """Return the key that a name means.

        Raises:
            WhereError: no result has it.

        """
        found = self._by_name.get(name)
        if found is not None:
            return found
        if not self.known:  # nothing is there yet, so nothing can be misspelt
            section, _, rest = name.partition(".")
            return Key(section, tuple(rest.split("."))) if section in SECTIONS and rest else Key("config", (name,))
        near = difflib.get_close_matches(name, self._by_name, n=3)
        raise WhereError(f"no result has a key {name!a}" + (f"; did you mean {', '.join(near)}?" if near else ""))

    def matching(self, pattern: str) -> list[Key]:
        """Return the keys that a name with `*`, `?` or `[…]` means; without these signs the one that it names.

        Raises:
            WhereError: none.

        """
        if pattern in self._by_name or not any(sign in pattern for sign in "*?["):
            return [self.resolve(pattern)]
        found = {key: None for name, key in self._by_name.items() if fnmatchcase(name, pattern)}
        if not found and self.known:
            raise WhereError(f"no result has a key like {pattern!a}")
        return list(found)
