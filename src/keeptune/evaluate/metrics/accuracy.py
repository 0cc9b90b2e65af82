"""accuracy and accuracy_norm: is the most likely choice the right one?"""

from __future__ import annotations

from keeptune.evaluate.metrics.base import METRICS
from keeptune.evaluate.metrics.exact_match import ExactMatch


@METRICS.register("accuracy")
class Accuracy(ExactMatch):
    """1 where the choice with the largest sum of token log-probabilities is the right one."""

    requests = frozenset({"choices"})


@METRICS.register("accuracy_norm")
class AccuracyNorm(Accuracy):
    """The same, log-probabilities divided by the UTF-8 bytes of the choice."""

    per_byte = True
