"""chrf: sacrebleu's corpus chrF."""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.evaluate.metrics.base import METRICS, Scores
from keeptune.evaluate.metrics.corpus import CorpusMetric, Floats
from keeptune.evaluate.metrics.sacrebleu import sacrebleu_scores


@METRICS.register("chrf")
class ChrF(CorpusMetric):
    """Linearised corpus chrF in [0, 1]: character order 6, word order 0, beta 2."""

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
        """One share per answer, and sacrebleu's signature."""
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF()

        def statistic(sums: Floats) -> float:
            return float(metric._compute_score_from_stats(sums.tolist()).score) / 100

        return sacrebleu_scores(metric, statistic, predictions, references)
