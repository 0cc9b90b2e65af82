"""json_f1: do the fields of the answer agree with those of a reference?"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from keeptune.core.errors import DataError
from keeptune.evaluate.metrics.base import METRICS, ItemMetric
from keeptune.evaluate.metrics.json_valid import parse_json
from keeptune.evaluate.metrics.token_f1 import bag_f1


@METRICS.register("json_f1")
class JsonF1(ItemMetric):
    """F1 over the bag of (field path, value) pairs; 0 where the prediction is not JSON.

    The items of a list share one path, so their order does not matter; 1 and 1.0 are equal, 1 and true are not.
    """

    def score_item(self, prediction: str, references: Sequence[str]) -> float:
        """The best reference counts.

        Raises:
            DataError: a reference is not JSON.
        """
        try:
            found = Counter(_leaves(parse_json(prediction)))
        except ValueError:
            found = None
        best = 0.0
        for reference in references:
            try:
                wanted = Counter(_leaves(parse_json(reference)))
            except ValueError as error:
                raise DataError(
                    f"the reference {reference[:60]!r} is not JSON ({error})",
                    remedy="json_f1 needs JSON references; choose another metric or mend the row",
                ) from error
            best = max(best, bag_f1(found, wanted) if found is not None else 0.0)
        return best


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, canonical value) of every scalar and every empty container."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _leaves(inner, f"{path}[]")
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, repr(float(value))
    else:
        yield path, json.dumps(value, ensure_ascii=False)
