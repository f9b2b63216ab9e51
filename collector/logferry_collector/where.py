"""WHERE: which results are meant, as users write it; independent of any store.

Grammar::

    where      = [ comparison { "and" comparison } ]
    comparison = key op value
    op         = "=" | "!=" | "<" | "<=" | ">" | ">="            ("==" is "=")
    key, value = word | quoted                                    word: anything but blanks, quotes, = ! < > ( ) ,
                                                                  quoted: '…' or "…", a backslash keeps the next sign

A key is a field of the document (`status`), `config.x` or `metrics.x`; a bare one is looked for in this order. Dots go
into nested maps. A value without quotes that reads as a number, `true` or `false` is one; everything else is text. A
result that lacks the key, or has NaN there, matches no comparison.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from logferry.results import FIELDS

SECTIONS = ("field", "config", "metrics")
_TOKEN = re.compile(
    r"""\s*(?:(?P<op><=|>=|!=|==|=|<|>)|(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<word>[^\s=!<>'"(),]+))""",
    re.DOTALL,
)


# Not all that Python takes for one: 2024_01 is a name.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)


class WhereError(ValueError):
    """A query cannot be understood; the message shows where."""


class Key(NamedTuple):
    """One value of a result. `path`: the names on the way to it, below the document or below its section."""

    section: str
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def full_name(self) -> str:
        return self.name if self.section == "field" else f"{self.section}.{self.name}"


@dataclass(frozen=True, slots=True)
class Comparison:
    key: Key
    op: str  # = != < <= > >=
    text: str
    value: str | int | float | bool  # of another type than str only where the text was not quoted


@dataclass(frozen=True, slots=True)
class Query:
    """Which results, in which order. What is RUNNING on a lost host, unchanged since `lost_before_ns`, is LOST."""

    where: tuple[Comparison, ...] = ()
    sort: Key | None = None
    desc: bool = False
    limit: int | None = None
    lost_hosts: tuple[str, ...] = ()
    lost_before_ns: int = 0


class _Token(NamedTuple):
    kind: str
    text: str
    column: int  # from 1


@dataclass
class Names:
    """The keys that there are: what a name in a query means."""

    known: Sequence[Key]
    _by_name: dict[str, Key] = field(init=False)

    def __post_init__(self) -> None:
        order = {section: rank for rank, section in enumerate(SECTIONS)}
        self._by_name = {}
        for key in sorted(self.known, key=lambda key: order[key.section]):
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


def parse(text: str, names: Names) -> tuple[Comparison, ...]:
    """Return the comparisons that a WHERE consists of.

    Raises:
        WhereError: points at the column.

    """
    tokens = list(_tokens(text))
    found: list[Comparison] = []
    position = 0
    while position < len(tokens):
        if found:
            joint = tokens[position]
            if joint.kind != "word" or joint.text.lower() != "and":
                raise _error(text, joint.column, "expected 'and'")
            position += 1
        found.append(_comparison(text, tokens[position : position + 3], names))
        position += 3
    return tuple(found)


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            column = position + len(text[position:]) - len(text[position:].lstrip()) + 1
            raise _error(text, column, "a quote without its end" if text[column - 1] in "'\"" else "unexpected sign")
        kind = match.lastgroup or ""
        yield _Token(kind, match[kind], match.start(kind) + 1)
        position = match.end()


def _comparison(text: str, tokens: list[_Token], names: Names) -> Comparison:
    for rank, (wanted, kinds) in enumerate(
        [("a key", {"word", "quoted"}), ("one of = != < <= > >=", {"op"}), ("a value", {"word", "quoted"})]
    ):
        if rank >= len(tokens) or tokens[rank].kind not in kinds:
            column = tokens[rank].column if rank < len(tokens) else len(text.rstrip()) + 1
            raise _error(text, column, f"expected {wanted}")
    key, op, value = tokens
    try:
        resolved = names.resolve(_bare(key))
    except WhereError as error:
        raise _error(text, key.column, str(error)) from None
    shown = _bare(value)
    return Comparison(resolved, "=" if op.text == "==" else op.text, shown, literal(value.text, shown))


def _bare(token: _Token) -> str:
    return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL) if token.kind == "quoted" else token.text


def literal(text: str, bare: str) -> str | int | float | bool:
    """Return the value that a word or a quoted text stands for; `bare` is the text without its quotes."""
    if text != bare:
        return bare
    if text in {"true", "false"}:
        return text == "true"
    if not _NUMBER.fullmatch(text):
        return text
    # Integers beyond 64 bits are floats to a store; NaN equals nothing, so whoever writes it means the text.
    number = float(text)
    return int(text) if text.lstrip("+-").isdigit() and abs(number) < 1 << 63 else number


def _error(text: str, column: int, problem: str) -> WhereError:
    line = text.replace("\n", " ").replace("\t", " ")
    return WhereError(f"{problem} at column {column}: {line[: column - 1]}⟨here⟩{line[column - 1 :]}")
