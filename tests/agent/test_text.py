"""The text form: the sample to the letter, and every event is one line that can be read back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from logferry.layout import is_control
from logferry_agent.text import text_line
from support.textparser import parse_text_line

SAMPLE = """\
2025-07-30 13:00:00 [INFO] ExperimentStarted: experiment_id=exp042
2025-07-30 13:00:05 [INFO] ConfigLoaded: learning_rate=0.001, batch_size=128, epochs=20
2025-07-30 13:05:11 [INFO] EpochEnd: epoch=1, train_loss=1.12, train_accuracy=63.0%
2025-07-30 13:10:56 [WARNING] DataWarning: Detected 25 missing labels, using placeholder values
2025-07-30 13:21:40 [DEBUG] BatchProcessed: epoch=5, batch=42, loss=0.94, accuracy=77.0%
2025-07-30 13:44:59 [ERROR] CheckpointError: Failed to save checkpoint at epoch 10 due to IO error
2025-07-30 14:00:00 [INFO] ExperimentCompleted: experiment_id=exp042, status=COMPLETED"""


def line(when: str, level: str, event: str, message: str | None = None, **fields: Any) -> dict[str, Any]:
    said = {} if message is None else {"message": message}
    return {"time": f"2025-07-30T{when}.000000Z", "level": level, "event": event, **said, **fields, "seq": "a-1"}


def test_the_seven_sample_lines_stand_to_the_letter() -> None:
    lines = [
        line("13:00:00", "INFO", "ExperimentStarted", experiment_id="exp042"),
        line("13:00:05", "INFO", "ConfigLoaded", learning_rate=0.001, batch_size=128, epochs=20),
        line("13:05:11", "INFO", "EpochEnd", epoch=1, train_loss=1.12, train_accuracy="63.0%"),
        line("13:10:56", "WARNING", "DataWarning", "Detected 25 missing labels, using placeholder values"),
        line("13:21:40", "DEBUG", "BatchProcessed", epoch=5, batch=42, loss=0.94, accuracy="77.0%"),
        line("13:44:59", "ERROR", "CheckpointError", "Failed to save checkpoint at epoch 10 due to IO error"),
        line("14:00:00", "INFO", "ExperimentCompleted", experiment_id="exp042", status="COMPLETED"),
    ]
    assert "\n".join(map(text_line, lines)) == SAMPLE


def test_a_name_without_message_and_fields_stands_alone() -> None:
    assert text_line(line("13:00:00", "INFO", "Tick")) == "2025-07-30 13:00:00 [INFO] Tick"


def test_a_message_before_fields_is_quoted() -> None:
    assert text_line(line("13:00:00", "INFO", "A", "well, well", n=1)).endswith('A: "well, well", n=1')


NAMES = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a b", "k=v", 'say "x"', "é:", "\u2028"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
RESERVED = {"time", "level", "event", "message", "seq"}


@given(
    event=NAMES,
    message=st.none() | NAMES,
    fields=st.dictionaries(NAMES.filter(lambda key: key not in RESERVED), VALUES, max_size=4),
)
@example(event="", message="", fields={"": ""})
@example(event="x", message='"quoted" = yes', fields={})
@example(event="x", message="a\x1b[31m\u202e\n", fields={"k": "1.5", "t": "true", "l": "[1", "b": " x"})
def test_whatever_is_logged_is_one_line_and_is_read_back(
    event: str, message: str | None, fields: dict[str, Any]
) -> None:
    shown = text_line({**line("13:00:00", "INFO", event, message), **fields})
    assert not any(is_control(char) for char in shown)
    expected = {"time": "2025-07-30 13:00:00", "level": "INFO", "event": event, **fields}
    if message is not None:
        expected["message"] = message
    assert json.dumps(parse_text_line(shown), sort_keys=True) == json.dumps(expected, sort_keys=True)
