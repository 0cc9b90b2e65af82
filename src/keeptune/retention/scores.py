"""The score of one arm, over seeds too, and the difference between two arms, from item records."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from keeptune.core.records import Estimate, Interval, ItemRecord, Score
from keeptune.retention.change import change_of_scores
from keeptune.retention.clusters import ratio
from keeptune.retention.intervals import MIN_SEEDS, mean_interval
from keeptune.retention.pairs import Kind, check_bounded, pair

LEVEL = 0.95  # of two-sided intervals


def score(items: Sequence[ItemRecord], metric: str, kind: Kind) -> Score:
    """Weighted mean of the items' scores with its interval.

    Raises:
        DataError: no items, an id twice, a score that isn't finite.
    """
    own = pair(items, items)
    if kind != "bits_per_byte":
        check_bounded(own, metric)
    low, high = mean_interval(own.before, own.codes, LEVEL, own.weights, bounded=kind != "bits_per_byte")
    return Score(
        metric=metric,
        mean=own.mean(own.before),
        interval=Interval(low=low, high=high, level=LEVEL),
        n=own.n,
        clusters=own.n_clusters,
        higher_is_better=kind != "bits_per_byte",
    )


def difference(a: Sequence[ItemRecord], b: Sequence[ItemRecord], level: float = LEVEL) -> tuple[float, Interval]:
    """Score of `a` minus score of `b` on the same items, paired: (difference, interval). Scores in [0, 1].

    The method is that of the verdicts (`change`).

    Raises:
        DataError: items that only one side has.
    """
    scores = pair(b, a)
    check_bounded(scores, a[0].suite)
    change = change_of_scores(scores)
    low, high = change.interval(level)
    return change.estimate, Interval(low=low, high=high, level=level)


def over_seeds(runs: Sequence[Sequence[ItemRecord]], against: Sequence[ItemRecord] | None = None) -> Estimate | None:
    """Mean score of trainings with several seeds on the same items, over seeds and items; or their gain over another.

    Student's t over seeds on an error that adds what other items would change. None with fewer than three seeds.
    """
    if len(runs) < MIN_SEEDS:
        return None
    scores = [pair(against or run, run) for run in runs]
    gains = np.array([one.after - one.before if against else one.after for one in scores])
    own = ratio(gains.mean(axis=0), np.ones(gains.shape[1]), scores[0].codes)
    error = math.hypot(float(gains.mean(axis=1).std(ddof=1)) / math.sqrt(len(runs)), own.se)
    half = float(stdtrit(len(runs) - 1, (1 + LEVEL) / 2)) * error
    low, high = max(own.estimate - half, -1.0 if against else 0.0), min(own.estimate + half, 1.0)
    return Estimate(mean=own.estimate, interval=Interval(low=low, high=high, level=LEVEL))
