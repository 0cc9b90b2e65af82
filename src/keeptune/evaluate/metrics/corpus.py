"""Metrics of a whole set of answers (macro-F1, BLEU, chrF), which are not means of item scores.

Intervals and paired tests need numbers per item. For a statistic S that is a smooth function of sums over
items, S = f(sum_i x_i), the linearised score of item i is

    s_i = S + n * grad f . (x_i - mean x)

(the delta method; also the infinitesimal jackknife). The mean of the s_i is S itself, and the variance of
their mean, clustered or not, is the usual large-sample variance of S. So one procedure serves every
metric. A single s_i may lie outside [0, 1]: it is a share of the corpus figure, not a grade of the item.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from keeptune.evaluate.metrics.base import Answer, Metric, Scores

Floats = NDArray[np.float64]


class CorpusMetric(Metric, ABC):
    """A metric that looks at all answers together and gives every item its share (`linearise`)."""

    @abstractmethod
    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
        """Linearised scores of at least one answer; with the references of each."""

    def score(self, answers: Sequence[Answer]) -> Scores:
        """One share per answer."""
        if not answers:
            return Scores(())
        return self.score_all([one.prediction for one in answers], [one.references for one in answers])


def linearise(parts: Floats, statistic: Callable[[Floats], float], value: float) -> tuple[float, ...]:
    """Scores per item whose mean is ``value`` (see the module's docstring).

    Args:
        parts: [n, k] what each item adds to the k sums.
        statistic: f, of the k sums; its gradient is taken by central differences (relative step 1e-4).
        value: f(sums) as the reference implementation computes it.
    """
    sums = parts.sum(axis=0)
    gradient = np.zeros_like(sums)
    for k in np.flatnonzero(sums):  # a sum of zero counts consists of zeros: no item can contribute
        step = np.zeros_like(sums)
        step[k] = 1e-4 * sums[k]
        gradient[k] = (statistic(sums + step) - statistic(sums - step)) / (2 * step[k])
    share = parts @ gradient * len(parts)
    scores = value + share - share.mean()
    return tuple(float(score) for score in scores + (value - scores.mean()))
