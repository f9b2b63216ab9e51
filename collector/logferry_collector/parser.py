"""From the text of a WHERE to its tree (where.py).

Grammar, `not` before `and` before `or`::

    where     = [ any ]
    any       = all { "or" all }
    all       = one { "and" one }
    one       = "not" one | "(" any ")" | condition
    condition = key ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
              | key ( "~" | "!~" ) text                            a regular expression, found anywhere
              | key [ "not" ] "in" "(" value { "," value } ")"
              | key [ "not" ] "has" value                          an element of a list
              | key "is" [ "not" ] ( "null" | "nan" )
    key       = name { "." name } | quoted                         name: word or quoted, without blanks in between
    value     = word | quoted                                      word: anything but blanks, quotes, = ! < > ~ ( ) ,
                                                                   quoted: '…' or "…", a backslash keeps the next sign

A value without quotes that reads as a number, `true` or `false` is one; everything else is text. `started` and
`timestamp` take times: `2025-07-30`, `2025-07-30T13:00`, with seconds and a zone (UTC without one), or a time ago:
`-90s -30m -12h -7d -2w`. A day, minute or second is a span: `= 2025-07-30` is any time of that day, `>` after it.
Words of the grammar are the same in capitals; a key that is called like one is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from logferry_collector.names import Names
from logferry_collector.where import (
    TEXTS,
    TIMES,
    And,
    Expression,
    Has,
    Is,
    Key,
    Literal,
    Matches,
    OneOf,
    Or,
    Order,
    WhereError,
    negated,
)

_TOKEN = re.compile(
    r"""(?P<blank>\s*)(?:(?P<op><=|>=|!=|==|!~|[=<>~(),])|(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<word>[^\s=!<>~'"(),]+))""",
    re.DOTALL,
)
# Not all that Python takes for one: 2024_01 is a name.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
_AGO = re.compile(r"-([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?P<clock>[T ]\d\d:\d\d(?P<seconds>:\d\d(?P<part>[.,]\d{1,9})?)?)?(?:Z|[+-]\d\d:?\d\d)?"
)
_OPS = ("=", "==", "!=", "<", "<=", ">", ">=", "~", "!~")
# What no store has trouble with: deeper or longer than anybody writes by hand.
_MAX_DEPTH, _MAX_CONDITIONS, _MAX_VALUES, _MAX_DIGITS = 50, 500, 10_000, 300


class _Token(NamedTuple):
    kind: str  # op quoted word end
    text: str
    column: int  # from 1
    apart: bool  # from the token before

    @property
    def keyword(self) -> str:
        return self.text.lower() if self.kind == "word" else ""

    @property
    def bare(self) -> str:
        return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL) if self.kind == "quoted" else self.text


def parse(text: str, names: Names, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Expression:
    """Return what a WHERE says.

    Args:
        text: as users write it; nothing selects everything.
        names: the keys that there are.
        now: what times ago are counted from.

    Raises:
        WhereError: points at the column.

    """
    return _Parser(text, names, now).whole()


class _Parser:
    """Reads tokens from left to right, a method per rule of the grammar."""

    def __init__(self, text: str, names: Names, now: Callable[[], datetime]) -> None:
        self._text, self._names, self._now = text, names, now
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = self._conditions = self._values = 0

    def whole(self) -> Expression:
        if self._peek.kind == "end":
            return And()
        found = self._any()
        if self._peek.kind != "end":
            raise self._wrong("expected 'and', 'or' or the end")
        return found

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _accept(self, keyword: str) -> bool:
        """Take a word of the grammar or a sign if it comes next."""
        here = self._peek
        found = here.keyword == keyword or (here.kind == "op" and here.text == keyword)
        self._next += found
        return found

    def _expect(self, *keywords: str) -> str:
        for keyword in keywords:
            if self._accept(keyword):
                return keyword
        raise self._wrong("expected " + " or ".join(f"'{keyword}'" for keyword in keywords))

    def _wrong(self, problem: str, column: int = 0) -> WhereError:
        return _error(self._text, column or self._peek.column, problem)

    def _any(self) -> Expression:
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Expression:
        parts = [self._one()]
        while self._accept("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._wrong(f"more than {_MAX_DEPTH} levels deep")
        if self._accept("not"):
            found = negated(self._one())
        elif self._accept("("):
            found = self._any()
            self._expect(")")
        else:
            found = self._condition()
        self._depth -= 1
        return found

    def _condition(self) -> Expression:
        self._conditions += 1
        if self._conditions > _MAX_CONDITIONS:
            raise self._wrong(f"more than {_MAX_CONDITIONS} conditions; 'in (…)' takes many values")
        key = self._key()
        if self._peek.kind == "op" and self._peek.text in _OPS:
            return self._compared(key, self._take().text)
        if self._accept("is"):
            opposite = self._accept("not")
            return Is(key, self._expect("null", "nan"), opposite)
        opposite = self._accept("not")
        if self._accept("in"):
            found: Expression = self._one_of(key)
        elif self._accept("has"):
            found = Has(key, self._literal(None))
        else:
            raise self._wrong("expected 'in' or 'has'" if opposite else "expected one of = != < <= > >= ~ in has is")
        return negated(found) if opposite else found

    def _key(self) -> Key:
        first = self._peek
        if first.kind not in {"word", "quoted"}:
            raise self._wrong("expected a key")
        parts = [self._take()]
        while self._peek.kind in {"word", "quoted"} and not self._peek.apart:
            parts.append(self._take())
        try:
            return self._names.resolve("".join(part.bare for part in parts))
        except WhereError as error:
            problem, _, hint = str(error).partition("; ")
            where = self._wrong(problem, first.column)
            raise WhereError(f"{where}; {hint}" if hint else str(where)) from None

    def _compared(self, key: Key, op: str) -> Expression:
        if op in {"~", "!~"}:
            return self._matches(key, negative=op == "!~")
        column = self._peek.column
        literal = self._literal(key)
        if isinstance(literal.value, datetime):
            return self._in_time(key, op, literal.text, column)
        if op in {"=", "==", "!="}:
            return OneOf(key, (literal,), op == "!=")
        if key.section == "field" and key.name in TEXTS:
            literal = Literal(literal.text, literal.text)
        return Order(key, op, literal)

    def _one_of(self, key: Key) -> Expression:
        self._expect("(")
        column, literals = self._peek.column, [self._literal(key)]
        while self._expect(",", ")") == ",":
            literals.append(self._literal(key))
        if isinstance(literals[0].value, datetime):
            return Or(tuple(self._in_time(key, "=", literal.text, column) for literal in literals))
        return OneOf(key, tuple(literals))

    def _matches(self, key: Key, *, negative: bool) -> Expression:
        token = self._value()
        try:
            re.compile(token.bare)
        except (re.error, RecursionError, OverflowError) as error:
            raise self._wrong(f"no regular expression: {error}", token.column) from None
        return Matches(key, token.bare, negative)

    def _value(self) -> _Token:
        token = self._peek
        if token.kind not in {"word", "quoted"}:
            raise self._wrong("expected a value")
        self._values += 1
        if self._values > _MAX_VALUES:
            raise self._wrong(f"more than {_MAX_VALUES} values")
        return self._take()

    def _literal(self, key: Key | None) -> Literal:
        """Return the next value; of a key that holds times, the beginning of the span that it names."""
        token = self._value()
        if key is not None and key.section == "field" and key.name in TIMES:
            return Literal(self._span(token.bare, token.column)[0], token.bare)
        return Literal(token.bare if token.kind == "quoted" else _plain(token.text), token.bare)

    def _in_time(self, key: Key, op: str, text: str, column: int) -> Expression:
        begin, end = (Literal(moment, text) for moment in self._span(text, column))
        match op:
            case "<" | ">=":
                return Order(key, op, begin)
            case "<=":
                return Order(key, "<", end)
            case ">":
                return Order(key, ">=", end)
        within = And((Order(key, ">=", begin), Order(key, "<", end)))
        return negated(within) if op == "!=" else within

    def _span(self, text: str, column: int) -> tuple[datetime, datetime]:
        """Return the beginning and the end of what a time names: a day, a minute, a second or a microsecond."""
        try:
            ago = _AGO.fullmatch(text)
            if ago:
                moment = self._now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
                return moment, moment + timedelta(microseconds=1)
            time = _TIME.fullmatch(text)
            if time:
                moment = datetime.fromisoformat(text)
                moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
                lasts = (("part", "microseconds"), ("seconds", "seconds"), ("clock", "minutes"))
                unit = next((unit for name, unit in lasts if time[name]), "days")
                return moment, moment + timedelta(**{unit: 1})
        except (ValueError, OverflowError) as error:
            raise self._wrong(f"no time: {error}", column) from None
        raise self._wrong("expected a time, as 2025-07-30, 2025-07-30T13:00 or -7d", column)


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            column = position + len(text[position:]) - len(text[position:].lstrip()) + 1
            raise _error(text, column, "a quote without its end" if text[column - 1] in "'\"" else "unexpected sign")
        kind = match.lastgroup or ""
        found = _Token(kind, match[kind], match.start(kind) + 1, bool(match["blank"]))
        if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in found.text):
            raise _error(text, found.column, "a sign that is no text")
        yield found
        position = match.end()
    yield _Token("end", "", end + 1, apart=True)


def _plain(word: str) -> str | int | float | bool:
    """Return the value that a word stands for."""
    if word in {"true", "false"}:
        return word == "true"
    if not _NUMBER.fullmatch(word):
        return word
    # NaN equals nothing, so whoever writes it means the text; more digits than any number has are rounded.
    return int(word) if word.lstrip("+-").isdigit() and len(word) < _MAX_DIGITS else float(word)


def _error(text: str, column: int, problem: str) -> WhereError:
    line = text.replace("\n", " ").replace("\t", " ")
    return WhereError(f"{problem} at column {column}: {line[: column - 1]}⟨here⟩{line[column - 1 :]}")
