"""`trainer_state.json`, as Hugging Face's Trainer leaves it: settings, and a history of what was logged at each step.

A result has one value of a metric, so the last of each is what counts, as in summaries of other programs; the history
stays in the file.
"""

from __future__ import annotations

from typing import Any

_SETTINGS = ("num_train_epochs", "max_steps", "train_batch_size")
# Where an entry of the history stands, and no outcome; the state has its own.
_PLACES = frozenset({"step", "epoch"})


def ended(value: Any) -> Any:
    """Return a trainer's state as a result document; anything else as it is."""
    if type(value) is not dict or "metrics" in value or "global_step" not in value:
        return value
    history = value.get("log_history")
    if type(history) is not list or not all(type(entry) is dict for entry in history):
        return value
    last = {
        name: found
        for entry in history
        for name, found in entry.items()
        if name not in _PLACES and not isinstance(found, dict | list)
    }
    if value.get("best_metric") is not None:
        last["best_metric"] = value["best_metric"]
    chosen = value.get("trial_params")
    settings = {name: value[name] for name in _SETTINGS if value.get(name) is not None}
    taken = {"log_history", "best_metric", "trial_params", *_SETTINGS}
    rest = {name: found for name, found in value.items() if name not in taken}
    return rest | {"config": settings | (chosen if type(chosen) is dict else {}), "metrics": last}
