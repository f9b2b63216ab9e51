"""Formats of result files: one module each, registered here, found by the name's ending.

A new one (an importer of TensorBoard's events, an MLflow file store, W&B's offline directories, Aim's exports) is a
module with a class as `content.Format` describes it, and a line in `FORMATS`.
"""

from __future__ import annotations

from logferry_collector.formats.content import Content, Format, Reading
from logferry_collector.formats.csv import CSV
from logferry_collector.formats.json import JSON
from logferry_collector.formats.jsonl import JSONLines

__all__ = ["FORMATS", "Content", "Format", "Reading", "format_of", "stem_of"]

FORMATS: tuple[Format, ...] = (JSON(), JSONLines(), CSV())
_BY_SUFFIX: dict[str, Format] = {suffix: form for form in FORMATS for suffix in form.suffixes}


def format_of(name: str) -> Format | None:
    """Return the format of a file by its name, or None for a file that is no result."""
    rest, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(dot + suffix.lower()) if rest else None


def stem_of(name: str) -> str:
    """Return a file's name without the ending that says its format."""
    return name.rpartition(".")[0]
