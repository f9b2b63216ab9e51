"""What the columns of other programs' tables are called, and what their values say.

Kept apart from the rules (columns.py) because this is what grows: a line for each name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from logferry.results import COMPLETED, FAILED, KILLED, RUNNING
from logferry_collector.formats.values import literal, rfc3339

_SECTIONS = {
    "config": "config params param hparams hyperparameters",
    "metrics": "metrics metric summary",
    "environment": "environment",
    "exit": "exit",
}
PREFIXES = tuple(
    (word + sign, section) for section, words in _SECTIONS.items() for word in words.split() for sign in "._/"
) + (("hydra.", "environment"), ("hydra/", "environment"), ("tags.", "labels"))

_SETTINGS = frozenset(
    "seed random_seed random_state lr learning_rate batch_size epochs n_epochs num_epochs max_epochs max_steps "
    "optimizer weight_decay momentum dropout hidden_size hidden_dim num_layers n_layers warmup_steps temperature fold "
    "n_estimators max_depth".split()
)
_OUTCOMES = frozenset(
    "acc accuracy loss f1 auc auroc precision recall rmse mse mae r2 bleu rouge perplexity ppl iou miou top1 top5 "
    "reward score nll".split()
)
_OF_WHAT = frozenset(
    "train training val valid validation dev test eval final best last mean avg std min max macro micro "
    "weighted".split()
)

_WANDB = {
    "ID": ("run_id",),
    "Name": ("name",),
    "State": ("status",),
    "Created": ("started",),
    "Runtime": ("duration_s",),
    "Notes": ("notes",),
    "Tags": ("tags",),
    "Group": ("group",),
    "Hostname": ("host",),
    "User": ("environment", "user"),
    "Sweep": ("environment", "sweep"),
    "Job Type": ("environment", "job_type"),
    "_runtime": ("environment", "_runtime"),
    "_step": ("environment", "_step"),
    "_timestamp": ("environment", "_timestamp"),
    "_wandb": ("environment", "_wandb"),
}
_MLFLOW = {
    "Run ID": ("run_id",),
    "Name": ("name",),
    "Status": ("status",),
    "Start Time": ("started",),
    "Duration": ("duration_s",),
    "User": ("environment", "user"),
    "Source Name": ("environment", "source"),
    "Source Type": ("environment", "source_type"),
    "start_time": ("started",),
    "end_time": ("timestamp",),
    "artifact_uri": ("environment", "artifact_uri"),
    "tags.mlflow.runName": ("name",),
    "tags.mlflow.note.content": ("notes",),
    "tags.mlflow.user": ("environment", "user"),
    "tags.mlflow.source.name": ("environment", "source"),
    "tags.mlflow.source.type": ("environment", "source_type"),
    "tags.mlflow.source.git.commit": ("environment", "git_commit"),
    "tags.mlflow.parentRunId": ("group",),
}
_OPTUNA = {
    "value": ("metrics", "value"),
    "state": ("status",),
    "datetime_start": ("started",),
    "datetime_complete": ("timestamp",),
}
_STATUSES = {
    "finished": COMPLETED,
    "complete": COMPLETED,
    "fail": FAILED,
    "completed": COMPLETED,
    "failed": FAILED,
    "killed": KILLED,
    "crashed": KILLED,  # W&B: its process was heard of no more
    "running": RUNNING,
    "scheduled": RUNNING,
}
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|min|s|m|h|d)")
# Not even as nanoseconds.
_NO_TIME = 1e21
_CLOCK = re.compile(r"(?:(\d+) days? )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def export_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return what some names mean where all names together show which program wrote them."""
    there = set(names)
    if "State" in there and there & {"ID", "Name", "Created"}:
        return _WANDB if "ID" in there else _WANDB | {"Name": ("run_id",)}
    if there & {"artifact_uri", "Run ID"} or {"run_id", "status", "start_time"} <= there:
        return _MLFLOW
    if {"number", "state", "datetime_start"} <= there:
        return _OPTUNA | {name: place for name in names if (place := _optuna(name))}
    return {}


def _optuna(name: str) -> tuple[str, ...]:
    if name.startswith("values_"):  # of several objectives
        return ("metrics", name.removeprefix("values_"))
    bare = name.removeprefix("user_attrs_")
    section = section_of_word(bare) if bare != name else ""
    return (section, bare) if section else ()


def section_of_word(name: str) -> str:
    """Return `config` or `metrics` for a well-known word, else the empty string."""
    bare = name.lstrip("+")  # Hydra's overrides
    if bare.rpartition(".")[2] in _SETTINGS:
        return "config"
    words = re.split(r"[_/.\- ]", bare.lower())
    if words[-1] in _OUTCOMES and all(word in _OF_WHAT or word in _OUTCOMES for word in words):
        return "metrics"
    return ""


def completed(document: dict[str, Any]) -> None:
    """Fill in what other columns say: settings from Hydra's overrides, a duration from two times, labels as tags."""
    overrides = document.get("overrides")
    if overrides and (found := _overrides(overrides)):
        document["config"] = found | (document.get("config") or {})
    labels = document.pop("labels", None)
    if isinstance(labels, dict):
        known = document.get("tags")
        document["tags"] = (known if isinstance(known, list) else []) + _labels("", labels)
    started, ended = document.get("started"), document.get("timestamp")
    if started and ended and "duration_s" not in document and document.get("status") != RUNNING:
        span_s = _between(started, ended)
        if span_s is not None:
            document["duration_s"] = span_s


def _overrides(value: Any) -> dict[str, Any]:
    parts = value if isinstance(value, list) else re.split(r"[,\n]\s*(?=[+~\w./@]+=)", str(value))
    pairs = [str(part).lstrip("+").partition("=") for part in parts if "=" in str(part)]
    return {name.strip(): literal(text.strip()) for name, _, text in pairs if not name.startswith(("~", "hydra"))}


def _labels(prefix: str, labels: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in labels.items():
        if isinstance(value, dict):
            found += _labels(f"{prefix}{name}.", value)
        else:
            found.append(f"{prefix}{name}={value}")
    return found


def _between(started: Any, ended: Any) -> float | None:
    try:
        span_s = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    except (TypeError, ValueError):
        return None
    return span_s if span_s >= 0 else None


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _status(value: Any) -> str:
    text = str(value)
    return _STATUSES.get(text.lower(), text)


def _time(value: Any) -> Any:
    """Return a time as the result document has it; a number counts seconds, or thousandths and so on, since 1970.

    What cannot be one stays as it is.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) < _NO_TIME:  # so that NaN is none either
            return value
        seconds = float(value)
        while abs(seconds) > 1e11:  # the year 5138, or thousandths in 1973
            seconds /= 1000
        with suppress(ValueError, OverflowError):
            return rfc3339(datetime.fromtimestamp(seconds, UTC))
        return value
    text = str(value)
    try:
        return rfc3339(datetime.fromisoformat(text)) if len(text) > len("2025-01-01") else text
    except (ValueError, OverflowError):
        return text


def _seconds(value: Any) -> Any:
    """Return a duration as seconds; what cannot be read as one stays text, and the row is refused for it."""
    if isinstance(value, int | float):
        return value
    text = str(value).strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    spans = _SPAN.findall(text)
    if spans and not _SPAN.sub("", text).strip():
        return sum(float(number) * _UNITS_S[unit] for number, unit in spans)
    return value


def _tags(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return _labels("", value)
    text = str(_text(value))
    return [word.strip() for word in text.strip("[]").split(",") if word.strip()]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Fields whose cells are text whatever they look like.
TEXTS = frozenset("experiment_id run_id model dataset notes group host owner".split())
CONVERTERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(TEXTS, _text),
    "status": _status,
    "timestamp": _time,
    "started": _time,
    "duration_s": _seconds,
    "tags": _tags,
    "attempt": _whole,
    "revision": _whole,
}
