"""Formats of result files: one module each, registered here, found by the name's ending.

A new one (an importer of TensorBoard's events, an MLflow file store, W&B's offline directories, Aim's exports) is a
module with a class as `content.Format` describes it, and a line in `FORMATS`.
"""

from __future__ import annotations

import re

from logferry_collector.formats.arrow import Arrow, Parquet
from logferry_collector.formats.content import Content, Format, Reading
from logferry_collector.formats.csv import CSV
from logferry_collector.formats.json import JSON
from logferry_collector.formats.jsonl import JSONLines
from logferry_collector.formats.packed import CODECS, Packed
from logferry_collector.formats.pickle import Pickle
from logferry_collector.formats.yaml import YAML

__all__ = ["FORMATS", "Content", "Format", "Packed", "Reading", "format_of", "names_before", "stem_of"]

FORMATS: tuple[Format, ...] = (JSON(), JSONLines(), CSV(), YAML(), Parquet(), Arrow(), Pickle())
_BY_SUFFIX: dict[str, Format] = {suffix: form for form in FORMATS for suffix in form.suffixes} | {
    suffix: packed
    for form in FORMATS
    for codec in CODECS
    for packed in [Packed(form, codec)]
    for suffix in packed.suffixes
}


# What rotation puts behind a name, before it is packed.
_ROTATED = re.compile(r"(?:\.\d{1,4}|[.-]\d{8}(?:[-T]?\d{2,6})?)$")


def format_of(name: str) -> Format | None:
    """Return the format of a file by its name, or None for a file that is no result."""
    _, ending, rotation, codec = _parts(name)
    if rotation and not (ending and _BY_SUFFIX[ending].grows):
        return None
    return _BY_SUFFIX.get(ending + codec)


def stem_of(name: str) -> str:
    """Return a file's name without the ending that says its format.

    Of a file that was appended to before, rotation and packing stay: rows of `all.jsonl` and of `all.jsonl.gz` are not
    the same rows because they stand on the same line.
    """
    stem, ending, rotation, codec = _parts(name)
    return stem + rotation + codec if _BY_SUFFIX[ending].grows else stem


def names_before(name: str) -> list[str]:
    """Return the names that a packed file may have had before it was rotated and packed."""
    stem, _, rotation, codec = _parts(name)
    end = len(name) - len(rotation) - len(codec)
    unpacked = name[: len(name) - len(codec)]
    return list(dict.fromkeys([unpacked, stem + name[len(stem) : end]]))


def _parts(name: str) -> tuple[str, str, str, str]:
    """Return a name as stem, ending, rotation and codec; no ending where no format has it."""
    rest, dot, suffix = name.rpartition(".")
    ending = dot + suffix.lower()
    if ending in _BY_SUFFIX and rest.rpartition("/")[2]:  # almost every name that matters
        return rest, ending, "", ""
    codec = ending if ending in CODECS else ""
    whole = rest if codec else name
    found = _ROTATED.search(whole)
    rotation = found[0] if found else ""
    rest, dot, suffix = whole[: len(whole) - len(rotation)].rpartition(".")
    ending = dot + suffix.lower()
    return (rest, ending, rotation, codec) if ending in _BY_SUFFIX and rest.rpartition("/")[2] else ("", "", "", "")
