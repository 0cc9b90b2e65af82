"""bleu: sacrebleu's corpus BLEU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keeptune.evaluate.metrics.base import METRICS, Scores
from keeptune.evaluate.metrics.corpus import CorpusMetric, Floats
from keeptune.evaluate.metrics.sacrebleu import sacrebleu_scores
from keeptune.evaluate.words import mostly_continuous


@METRICS.register("bleu")
class Bleu(CorpusMetric):
    """Linearised corpus BLEU in [0, 1] by sacrebleu's defaults: 13a, exp smoothing, mixed case.

    Where the references are of scripts without spaces the characters are the words (`tok:char` in the signature).
    """

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
        """One share per answer, and sacrebleu's signature."""
        from sacrebleu.metrics.bleu import BLEU

        by_character = mostly_continuous(one for each in references for one in each)
        metric = BLEU(force=True, tokenize="char" if by_character else "13a")  # force: no warning of tokenised text

        def statistic(sums: Floats) -> float:
            return _bleu_of_sums(sums, metric.max_ngram_order)

        return sacrebleu_scores(metric, statistic, predictions, references)


def _bleu_of_sums(sums: Floats, orders: int) -> float:
    """BLEU in [0, 1] of (prediction length, reference length, matches per order, n-grams per order).

    sacrebleu's own function of these sums takes whole numbers only, and a gradient needs the others too.
    """
    length, reference_length = sums[:2]
    matches, totals = sums[2 : 2 + orders], sums[2 + orders :]
    if not matches.any() or not totals.all():
        return 0.0
    halvings = np.cumsum(matches == 0)  # exp smoothing: the k-th order without a match counts as 2**-k matches
    precisions = np.where(matches > 0, matches, 0.5**halvings) / totals
    brevity = min(0.0, 1 - reference_length / length)
    return float(np.exp(brevity + np.log(precisions).mean()))
