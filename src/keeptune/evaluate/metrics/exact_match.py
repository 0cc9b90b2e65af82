"""exact_match: is the answer, up to white space, one of the references?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keeptune.data.examples import Rendered
from keeptune.evaluate.metrics.base import METRICS, ItemMetric, right_answers
from keeptune.evaluate.words import squeeze
from keeptune.retention.precheck import chance_level


@METRICS.register("exact_match")
class ExactMatch(ItemMetric):
    """1 where the prediction equals a reference, case included, up to white space (`squeeze`)."""

    kind = "binary"
    choices_as_text = True

    def score_item(self, prediction: str, references: Sequence[str]) -> float:
        """0 or 1."""
        return float(squeeze(prediction) in {squeeze(reference) for reference in references})

    def chance(self, rows: Iterable[Rendered]) -> float:
        """The larger of 1/k and the share of the commonest answer."""
        return chance_level(*right_answers(rows))
