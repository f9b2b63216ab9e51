"""YAML: one document per file is one result; several, or a list, are rows.

Read by PyYAML's safe loader, which makes plain data and nothing else. Before that its events are counted: an alias
counts as all that it stands for, so that a few lines cannot grow to billions of values. A key that comes twice in a
map is refused, where PyYAML would keep the last. `1e-3` is a number, as everybody but YAML 1.1 thinks. The beginning of
a YAML file is often a whole one: a file that is half written may be taken in, and is again when the rest is there.

Most YAML files are settings of something. So one in which no document says that it is a result is refused.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from logferry.results import MAX_DOCUMENT_BYTES
from logferry_collector.formats.content import BeyondError, Content, Reading, refused, unfinished, unparsed, whole
from logferry_collector.formats.json import MAX_DEPTH
from logferry_collector.formats.values import plain
from logferry_collector.records import Parsed

MAX_NODES = 1_000_000
_MARKS = frozenset({"experiment_id", "run_id", "status", "metrics"})
_NO_RESULT = f"no result: one in YAML has {', '.join(sorted(_MARKS))}, or an outcome by a well-known name, as accuracy"
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+")


class YAML:
    suffixes = (".yaml", ".yml")
    grows = False
    max_bytes = MAX_DOCUMENT_BYTES

    def missing(self, reading: Reading) -> str:  # noqa: ARG002 - the package is all
        return "" if find_spec("yaml") else "needs PyYAML; install it with: pip install 'logferry[collector]'"

    def parse(self, content: Content) -> Parsed:
        import yaml  # noqa: PLC0415 - most collectors never see such a file

        data = content.data
        try:
            values = _values(data)
        except BeyondError as error:
            return refused(data, str(error))
        except yaml.constructor.ConstructorError as error:
            return refused(data, f"not plain data: {_why(error)}")
        except yaml.YAMLError as error:
            return unparsed(data, f"not YAML: {_why(error)}")
        except (ValueError, TypeError, RecursionError, OverflowError) as error:  # a date of no calendar, a map as a key
            return refused(data, f"not plain data: {error}")
        if not values:
            return unfinished(data, "no document is in it")
        parsed = whole(data, values if len(values) > 1 else values[0], content.reading)
        return parsed if _tells(parsed) else refused(data, _NO_RESULT)


def settings_of(data: bytes) -> dict[str, Any]:
    """Return the map that YAML holds, an empty one where it is none of plain data."""
    try:
        found = _values(data)
    except MemoryError:
        raise
    except Exception:  # of what is no YAML, or not readable here, nothing is taken
        return {}
    return found[0] if len(found) == 1 and isinstance(found[0], dict) else {}


def _values(data: bytes) -> list[Any]:
    import yaml  # noqa: PLC0415

    _bound(data)
    return [plain(one, MAX_DEPTH) for one in yaml.load_all(data, _loader()) if one is not None]


def _tells(parsed: Parsed) -> bool:
    """Say whether there is a result among the documents; what is no map at all is refused by itself."""
    maps = [one for _, one in parsed.documents if isinstance(one, dict)]
    return not maps or any(not _MARKS.isdisjoint(one) for one in maps)


def _bound(data: bytes) -> None:
    """Refuse what would be too many values, or nested too deep; nothing is built for that.

    Raises:
        BeyondError: it is.

    """
    import yaml  # noqa: PLC0415

    anchors: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []  # anchor, nodes before it
    nodes = 0
    for event in yaml.parse(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise BeyondError(f"the alias {event.anchor!a} holds itself")
            nodes += anchors.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                anchors[anchor] = nodes - before
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor is not None:
                anchors[event.anchor] = 1
        if nodes > MAX_NODES:
            raise BeyondError(f"more than {MAX_NODES} values, aliases counted as what they stand for")
        if len(open_) > MAX_DEPTH:
            raise BeyondError(f"nested deeper than {MAX_DEPTH}")


def _loader() -> Any:
    import yaml  # noqa: PLC0415

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key.value, str) else None
                if name in seen and key.tag != "tag:yaml.org,2002:merge":
                    mark = key.start_mark
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!a} comes twice", mark)
                seen.add(name) if name else None
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
    return Loader


def _why(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or getattr(error, 'reason', None) or error}{where}"
