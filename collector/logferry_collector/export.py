"""Result documents as flat rows, and rows as text that other programs read: JSON, JSON Lines, CSV, Markdown, LaTeX.

A flat row has a key per value: `config` and `metrics` by their dotted names, every other field by its own, or on
request dotted too. NaN and infinite metrics are numbers there, not the strings that JSON needs. JSON and CSV have every
digit; Markdown and LaTeX are for readers, and have the cells of a table.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from logferry.cli import printable
from logferry.results import finite, number
from logferry_collector.columns import columns_of
from logferry_collector.kept import exhausted, kept
from logferry_collector.output import Shape, cell, json_text

_LATEX = {sign: "\\" + sign for sign in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "…": "\\dots{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
}
_SPECIAL = re.compile("[" + re.escape("".join(_LATEX)) + "]")


def flat(document: dict[str, Any], *, deep: bool = False) -> dict[str, Any]:
    """Return a document as one flat row; `deep` takes apart every map in it."""
    row: dict[str, Any] = {}
    for name, value in document.items():
        if (deep or name in {"config", "metrics"}) and isinstance(value, dict):
            _flatten(name, value, row, as_numbers=name == "metrics")
        else:
            row[name] = value
    return row


def _flatten(prefix: str, mapping: dict[str, Any], into: dict[str, Any], *, as_numbers: bool) -> None:
    for name, value in mapping.items():
        key = f"{prefix}.{name}"
        if isinstance(value, dict) and value:
            _flatten(key, value, into, as_numbers=as_numbers)
            continue
        while key in into:  # {"a.b": 1, "a": {"b": 2}} has two values; neither may swallow the other
            key += "~"
        into[key] = number(value) if as_numbers else value


def differences(documents: Mapping[str, dict[str, Any]], *, same: bool = False) -> dict[str, dict[str, Any]]:
    """Return the dotted keys in which documents differ, or with `same` all, each with the value of all that have it."""
    rows = {label: flat(document, deep=True) for label, document in documents.items()}
    found = {
        key: {label: row[key] for label, row in rows.items() if key in row}
        for key in dict.fromkeys(key for row in rows.values() for key in row)
    }
    return {
        key: values
        for key, values in found.items()
        if same or len(values) < len(rows) or len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1
    }


def to_csv(rows: Iterable[dict[str, Any]], path: str | Path) -> None:
    """Write a CSV file with a header; what is neither text nor number stands as JSON."""
    with kept(rows, columns_of) as (columns, again), open(path, "w", newline="", encoding="utf-8") as file:
        write_csv(again, columns, file)


def write_csv(rows: Iterable[dict[str, Any]], columns: Sequence[str], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(row.get(column)) for column in columns] for row in rows)


def write_json(rows: Iterable[dict[str, Any]], file: TextIO) -> None:
    """Write a list, as `json_text` has it."""
    gap = "\n"
    file.write("[")
    for row in rows:
        file.write(f"{gap}  " + json_text(row).replace("\n", "\n  "))
        gap = ",\n"
    file.write("]\n" if gap == "\n" else "\n]\n")


def write_jsonl(rows: Iterable[dict[str, Any]], file: TextIO) -> None:
    file.writelines(json.dumps(finite(row), ensure_ascii=True, allow_nan=False) + "\n" for row in rows)


def write_markdown(heads: Sequence[str], rows: Iterable[Sequence[Any]], file: TextIO) -> None:
    lines = chain([heads, ["---"] * len(heads)], ([cell(value) for value in row] for row in rows))
    file.writelines("| " + " | ".join(printable(text).replace("|", "\\|") for text in line) + " |\n" for line in lines)


def write_latex(heads: Sequence[str], rows: Iterable[Sequence[Any]], file: TextIO) -> None:
    """Write a table for the package booktabs: numbers to the right."""
    shape = Shape(heads)
    with kept(map(shape.cells_of, rows), exhausted) as (_, cells):
        columns = "".join("r" if right else "l" for right in shape.right)
        file.write(f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{_latex_row(heads)}\\midrule\n")
        file.writelines(map(_latex_row, cells))
        file.write("\\bottomrule\n\\end{tabular}\n")


def _latex_row(texts: Iterable[str]) -> str:
    return " & ".join(map(_latex, texts)) + " \\\\\n"


def _latex(text: str) -> str:
    return _SPECIAL.sub(lambda sign: _LATEX[sign[0]], printable(text))


def plain(value: Any) -> Any:
    """Return a value as one that a cell can hold."""
    if isinstance(value, dict | list | bool):
        value = json.dumps(value, ensure_ascii=False)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
