"""The score of one arm, and the difference between two arms, from item records."""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.core.records import Interval, ItemRecord, Score
from keeptune.retention.change import change_of_scores
from keeptune.retention.intervals import mean_interval
from keeptune.retention.pairs import Kind, check_bounded, pair


def score(items: Sequence[ItemRecord], metric: str, kind: Kind, level: float = 0.95) -> Score:
    """Weighted mean of the items' scores with its interval.

    Raises:
        DataError: no items, an id twice, a score that isn't finite.
    """
    own = pair(items, items)
    if kind != "bits_per_byte":
        check_bounded(own, metric)
    mean = float(own.before @ own.weights / own.weights.sum())
    low, high = mean_interval(own.before, own.codes, level, own.weights, bounded=kind != "bits_per_byte")
    return Score(
        metric=metric,
        mean=mean,
        interval=Interval(low=low, high=high, level=level),
        n=own.n,
        clusters=own.n_clusters,
        higher_is_better=kind != "bits_per_byte",
    )


def difference(a: Sequence[ItemRecord], b: Sequence[ItemRecord], level: float = 0.95) -> tuple[float, Interval]:
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
