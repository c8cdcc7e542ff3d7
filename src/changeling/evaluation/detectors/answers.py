"""Answers of programs and services: JSON objects with a score, a probability or an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from changeling.errors import DetectorError
from changeling.evaluation.base import Label, Score

PROBABILITY = "probability"
SCORE_NAMES = (PROBABILITY, "score")  # the first that an answer or a table has is taken


def parse_answer(answer: Mapping[str, Any], name: str) -> Score:
    """Return the score of an answer `{"score": ..., "label": ..., "error": ...}`, or of one with a `probability`.

    Raises:
        DetectorError: it has neither a finite score nor an error, or its label is unknown. The message names `name`.
    """
    error = answer.get("error")
    if error:
        return Score(None, error=str(error))
    for key in SCORE_NAMES:
        if answer.get(key) is not None:
            label = _check_label(answer.get("label"), name)
            return Score(check_score(answer[key], name), label, is_probability=key == PROBABILITY)
    raise DetectorError(f"the answer for {name} has no score")


def check_score(value: Any, name: str) -> float:
    """Return a score as a float. Raises DetectorError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DetectorError(f"the score of {name} is {value!r}, not a finite number")
    return float(value)


def _check_label(label: Any, name: str) -> Label | None:
    if label is not None and label not in get_args(Label):
        raise DetectorError(f"the label of {name} is {label!r}, not one of {', '.join(get_args(Label))}")
    return label  # type: ignore[no-any-return]
