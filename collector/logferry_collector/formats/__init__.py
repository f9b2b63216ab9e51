"""Formats of result files: one module each, registered here, found by the name's ending.

A new one (an importer of TensorBoard's events, an MLflow file store, W&B's offline directories, Aim's exports) is a
module with a class as `content.Format` describes it, and a line in `FORMATS`.
"""

from __future__ import annotations

from logferry_collector.formats.arrow import Arrow, Parquet
from logferry_collector.formats.content import Content, Format, Reading
from logferry_collector.formats.csv import CSV
from logferry_collector.formats.json import JSON
from logferry_collector.formats.jsonl import JSONLines
from logferry_collector.formats.packed import CODECS, Packed
from logferry_collector.formats.pickle import Pickle
from logferry_collector.formats.yaml import YAML

__all__ = ["FORMATS", "Content", "Format", "Packed", "Reading", "format_of", "stem_of"]

FORMATS: tuple[Format, ...] = (JSON(), JSONLines(), CSV(), YAML(), Parquet(), Arrow(), Pickle())
_BY_SUFFIX: dict[str, Format] = {suffix: form for form in FORMATS for suffix in form.suffixes} | {
    suffix: packed
    for form in FORMATS
    for codec in CODECS
    for packed in [Packed(form, codec)]
    for suffix in packed.suffixes
}


def format_of(name: str) -> Format | None:
    """Return the format of a file by its name, or None for a file that is no result."""
    return _BY_SUFFIX.get(_ending(name))


def stem_of(name: str) -> str:
    """Return a file's name without the ending that says its format.

    Of a packed file that was appended to before, the packing stays: rows of `all.jsonl` and of `all.jsonl.gz`, which
    was rotated, are not the same rows because they stand on the same line.
    """
    ending = _ending(name)
    stem = name[: -len(ending)]
    form = _BY_SUFFIX[ending]
    return stem + "." + ending.rpartition(".")[2] if isinstance(form, Packed) and form.inner.grows else stem


def _ending(name: str) -> str:
    """Return the ending of a name that says a format, or one that says none."""
    rest, dot, suffix = name.lower().rpartition(".")
    if dot + suffix in CODECS:
        rest, dot, inner = rest.rpartition(".")
        suffix = f"{inner}.{suffix}"
    return dot + suffix if rest.rpartition("/")[2] else ""
