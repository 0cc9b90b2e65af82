"""macro_f1: the mean F1 over the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from keeptune.data.examples import Rendered
from keeptune.evaluate.metrics.base import METRICS, Scores, right_answers
from keeptune.evaluate.metrics.corpus import CorpusMetric, Floats, linearise
from keeptune.evaluate.words import squeeze


@METRICS.register("macro_f1")
class MacroF1(CorpusMetric):
    """Linearised macro-F1: the mean F1 over the labels that occur as a first reference.

    A prediction that is none of these labels is a miss for its item and adds no class, so the figure is
    scikit-learn's ``f1_score(y, p, labels=sorted(set(y)), average="macro")``.
    """

    requests = frozenset({"choices", "generate"})

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
        """One share per answer."""
        truth = [squeeze(reference[0]) for reference in references]
        labels = {label: k for k, label in enumerate(sorted(set(truth)))}
        hits, predicted, actual = np.zeros((3, len(truth), len(labels)))
        for item, (guess, label) in enumerate(zip(map(squeeze, predictions), truth, strict=True)):
            actual[item, labels[label]] = 1
            if guess in labels:
                predicted[item, labels[guess]] = 1
                hits[item, labels[guess]] = guess == label
        parts = np.concatenate([hits, predicted, actual], axis=1)
        return Scores(linearise(parts, _of_sums, _of_sums(parts.sum(axis=0))))

    def chance(self, rows: Iterable[Rendered]) -> float:
        """1/k of k choices."""
        _, choices = right_answers(rows)
        return sum(1 / k for k in choices) / len(choices)


def _of_sums(sums: Floats) -> float:
    true_positives, guesses, rows = sums.reshape(3, -1)
    return float(np.mean(2 * true_positives / (guesses + rows)))
