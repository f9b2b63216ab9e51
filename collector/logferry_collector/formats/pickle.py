"""Pickles of plain data, of numpy's arrays and of pandas' frames; read only where `[collector] pickle` allows it.

A pickle is a program for a small machine, which may import and call anything. Here it gets nothing to import: each
global that it names is a `Node`, a record of what it would have been called with, and names other than those of data
are refused at once. What the records mean is worked out afterwards (pickled.py, frames.py), with our own code for
each, so that neither pandas nor numpy is needed, imported or reached.

Before the machine runs, its program is read through: its length, the numbers of its memo and its extension codes are
bounded. What comes out is bounded in values and depth, things that occur often counted each time.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, NoReturn

from logferry_collector.formats.content import MAX_UNPACKED, BeyondError, Content, Reading, refused, unparsed, whole
from logferry_collector.formats.nodes import Node, RefusedError, node_class
from logferry_collector.formats.pickled import Meaning, Table
from logferry_collector.records import Fault, Parsed, Reject

MAX_OPCODES = 3_000_000
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
# It puts the bytes of arrays between the steps of the program, where no other reader of pickles expects them.
_JOBLIB = b"joblib.numpy_pickle"
_NOT_BY_JOBLIB = "has arrays as joblib writes them; write it with pickle.dump, or a frame with its own to_pickle"
_PERSISTENT = frozenset({"PERSID", "BINPERSID"})


class Pickle:
    suffixes = (".pkl", ".pickle")
    grows = False
    max_bytes = MAX_UNPACKED

    def missing(self, reading: Reading) -> str:
        return "" if reading.pickle else "pickles are read only where pickle = true stands in [collector]"

    def parse(self, content: Content) -> Parsed:
        data = content.data
        try:
            _scan(data)
            # Python 2 wrote bytes as text; latin-1 keeps each.
            program = _Machine(io.BytesIO(data), encoding="latin-1").load()
        except (BeyondError, RefusedError) as error:
            return refused(data, str(error))
        except (EOFError, ValueError) as error:  # pickletools' for an end in the middle
            if _JOBLIB in data:
                return refused(data, _NOT_BY_JOBLIB)
            return unparsed(data, f"not a pickle: {error}")
        except RecursionError:
            return refused(data, "nested too deep")
        except MemoryError:
            raise
        except Exception as error:  # the machine raises anything for a program that makes no sense
            return unparsed(data, f"not a pickle: {str(error)[:200]}")
        try:
            found = Meaning().value(program)
        except RecursionError:
            return refused(data, "nested too deep")
        except MemoryError:
            raise
        except Exception as error:  # records that fit no library's way to keep its data fail in any way
            return refused(data, str(error)[:200] if isinstance(error, ValueError) else f"no data: {error!r:.200}")
        return _rows(found, content) if isinstance(found, Table) else whole(data, found, content.reading)


def _rows(table: Table, content: Content) -> Parsed:
    if len(set(table.names)) < len(table.names):
        return refused(content.data, "two columns have one name")
    plan = content.reading.columns.plan(table.names)
    parsed = Parsed([], len(content.data), 0, rows=True)
    for number, row in enumerate(zip(*table.columns, strict=True), 1):
        try:
            parsed.documents.append((number, plan.document(row)))
        except ValueError as error:
            parsed.rejects.append(Reject(number, Fault.INVALID, str(error)))
    return parsed


def _scan(data: bytes) -> None:
    """Read the program through without running it.

    Raises:
        BeyondError: it is too long, or its memo would need more memory than the program itself.
        RefusedError: it takes things from outside.
        ValueError: it is no program, or ends in its middle.

    """
    stream = io.BytesIO(data)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        if count > MAX_OPCODES:
            raise BeyondError(f"more than {MAX_OPCODES} steps")
        if opcode.name in _EXTENSIONS or opcode.name in _PERSISTENT:
            raise RefusedError("takes things from outside of itself, which is not data")
        # The machine makes room for the number that it is told.
        if opcode.name in {"PUT", "BINPUT", "LONG_BINPUT"} and (argument or 0) > count:
            raise BeyondError(f"a memo of {argument} entries after {count} steps")


class _Machine(pickle.Unpickler):
    """The standard library's, which finds records wherever it looks."""

    def find_class(self, module: str, name: str) -> type[Node]:
        return node_class(module, name)

    def persistent_load(self, pid: Any) -> NoReturn:
        raise RefusedError(f"takes {str(pid)[:80]!a} from outside of itself, which is not data")
