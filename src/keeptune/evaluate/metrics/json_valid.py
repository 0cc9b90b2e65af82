"""json_valid: is the answer JSON?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from keeptune.evaluate.metrics.base import METRICS, ItemMetric


@METRICS.register("json_valid")
class JsonValid(ItemMetric):
    """1 where the prediction is one JSON value; what it says is not looked at."""

    kind = "binary"

    def score_item(self, prediction: str, references: Sequence[str]) -> float:
        """0 or 1."""
        try:
            parse_json(prediction)
        except ValueError:
            return 0.0
        return 1.0


def parse_json(text: str) -> Any:
    """The JSON value of a whole text (white space around it allowed); NaN and Infinity are not JSON.

    Raises:
        ValueError: the text is not one JSON value.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
