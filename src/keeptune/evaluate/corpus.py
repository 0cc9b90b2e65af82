"""Statistics of a whole set of answers: macro-F1, BLEU, chrF. They are not means of item scores.

Intervals and paired tests need numbers per item. For a statistic S that is a smooth function of sums over
items, S = f(sum_i x_i), the linearised score of item i is

    s_i = S + n * grad f . (x_i - mean x)

(the delta method; also the infinitesimal jackknife). The mean of the s_i is S itself, and the variance of
their mean, clustered or not, is the usual large-sample variance of S. So one paired bootstrap serves every
metric. A single s_i may lie outside [0, 1]: it is a share of the corpus figure, not a grade of the item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keeptune.evaluate.answers import squeeze
from keeptune.evaluate.words import mostly_continuous, one_form

Floats = NDArray[np.float64]

_LINE_BREAK = re.compile(r"\r\n?|\n")


def linearise(parts: Floats, statistic: Callable[[Floats], float], value: float) -> list[float]:
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
    return [float(score) for score in scores + (value - scores.mean())]


def macro_f1(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Linearised macro-F1: the mean F1 over the labels that occur as a first reference.

    A prediction that is none of these labels is a miss for its item and adds no class, so the figure is
    scikit-learn's ``f1_score(y, p, labels=sorted(set(y)), average="macro")``.
    """
    truth = [squeeze(reference[0]) for reference in references]
    labels = {label: k for k, label in enumerate(sorted(set(truth)))}
    hits, predicted, actual = np.zeros((3, len(truth), len(labels)))
    for item, (guess, label) in enumerate(zip(map(squeeze, predictions), truth, strict=True)):
        actual[item, labels[label]] = 1
        if guess in labels:
            predicted[item, labels[guess]] = 1
            hits[item, labels[guess]] = guess == label

    def statistic(sums: Floats) -> float:
        true_positives, guesses, rows = sums.reshape(3, -1)
        return float(np.mean(2 * true_positives / (guesses + rows)))

    parts = np.concatenate([hits, predicted, actual], axis=1)
    return linearise(parts, statistic, statistic(parts.sum(axis=0)))


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[float], str]:
    """Linearised corpus BLEU in [0, 1] and sacrebleu's signature (its defaults: 13a, exp smoothing, mixed case).

    Where the references are of scripts without spaces the characters are the words (`tok:char` in the signature).
    """
    from sacrebleu.metrics.bleu import BLEU

    by_character = mostly_continuous(one for each in references for one in each)
    metric = BLEU(force=True, tokenize="char" if by_character else "13a")  # force: no warning about tokenised text

    def statistic(sums: Floats) -> float:
        return _bleu_of_sums(sums, metric.max_ngram_order)

    return _sacrebleu(metric, statistic, predictions, references)


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


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[float], str]:
    """Linearised corpus chrF (character order 6, word order 0, beta 2) in [0, 1] and sacrebleu's signature."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()

    def statistic(sums: Floats) -> float:
        return float(metric._compute_score_from_stats(sums.tolist()).score) / 100

    return _sacrebleu(metric, statistic, predictions, references)


def _sacrebleu(
    metric: Any, statistic: Callable[[Floats], float], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[float], str]:
    """Item shares of one of sacrebleu's metrics; the sums per item are not part of its public interface."""
    streams = reference_streams(references)
    lines = [one_line(text) for text in predictions]
    parts = np.asarray(metric._extract_corpus_statistics(lines, streams), dtype=np.float64)
    value = float(metric.corpus_score(lines, streams).score) / 100
    return linearise(parts, statistic, value), str(metric.get_signature())


def reference_streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References per item -> sacrebleu's streams: k lists over all items, None where an item has fewer than k."""
    most = max(len(one) for one in references)
    return [[one_line(one[k]) if k < len(one) else None for one in references] for k in range(most)]


def one_line(text: str) -> str:
    """A text as sacrebleu's command line would read it from a file: one line, no whitespace at its end."""
    return _LINE_BREAK.sub(" ", one_form(text)).rstrip()
