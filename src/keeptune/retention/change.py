"""The change of one suite's score: its estimate, limits and p values. The one place that chooses the method.

- Unclustered binary items of equal weight: Tango's score interval and the mid-p McNemar test.
- Everything else: Student's t on the cluster jackknife's error with K_eff - 1 degrees of freedom (`clusters`). Where
  few clusters lose much more than the rest, t is too narrow on their side: a transformation by the skewness (Hall 1992,
  JRSS B 54) widens it there, and is not let to narrow the other side.
- Where the change rests on few clusters, t knows too little of the changes that were not drawn. Bounded scores then
  reach at least as far as (a) Tango's limits with K_eff items, each of which changes by as much as the largest change
  that was seen, and (b) the change seen, plus or minus the share of the largest possible change that K_eff draws may
  miss (1 - tail^(1/K_eff), some 3 / K_eff). Bits per byte change everywhere at once and need no such limits.

By simulation (docs/verdicts.md, appendix): sizes equal, log-normal and Pareto, intraclass correlations of .05 to .7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from keeptune.retention.binary import mcnemar_mid_p, tango_lower, tango_z, z_quantile
from keeptune.retention.clusters import Ratio, is_unclustered, ratio
from keeptune.retention.pairs import PairedScores, Suite, check_bounded, flip_counts, is_binary
from keeptune.retention.power import unseen_flips

MIN_CLUSTERS = 30  # with fewer, clustered or continuous scores carry no verdict
MACRO_F1 = "macro_f1"  # its items weigh as their classes are rare
FEW_CHANGED, FEW_CARRYING = 40, 20  # clusters that make the change, and its spread; with fewer t alone is too narrow


@dataclass(frozen=True)
class Change:
    """After minus before of one suite, positive is better.

    `lost` and `gained` are numbers of `n` items: counted where `exact`; elsewhere of effective clusters, in units of
    the largest change (`seen`) that one of them brought.
    """

    estimate: float
    se: float
    skew: float
    freedom: float
    clusters: int
    n: float
    lost: float
    gained: float
    exact: bool  # unclustered binary items: the limits are Tango's alone
    sparse: bool  # limits are widened by what may not have been drawn
    seen: float  # the largest change that one unit of `n` brought; where none changed, could bring
    possible: float  # the largest change that one unit of `n` could bring
    limits: tuple[float, float]  # what the change can be

    @property
    def enough(self) -> bool:
        """Whether there are enough clusters for a verdict, or nothing changed on a suite where anything would."""
        return self.exact or self.clusters >= MIN_CLUSTERS or self.unchanged

    @property
    def unchanged(self) -> bool:
        """Whether every score of a continuous, unbounded suite stayed as it was, and so did every prediction."""
        return not self.exact and math.isinf(self.limits[0]) and self.lost + self.gained == 0

    @property
    def mirrored(self) -> Change:
        """The change from after to before."""
        low, high = self.limits
        return replace(
            self, estimate=-self.estimate, skew=-self.skew, lost=self.gained, gained=self.lost, limits=(-high, -low)
        )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval with equal tails."""
        return self._low((1 - level) / 2), self._high((1 - level) / 2)

    def lower_bound(self, level: float = 0.95) -> float:
        """One-sided lower bound."""
        return self._low(1 - level)

    def upper_bound(self, level: float = 0.95) -> float:
        """One-sided upper bound."""
        return self._high(1 - level)

    @property
    def p_worse(self) -> float:
        """One-sided p of "no worse than before"; 1.0 where nothing changed."""
        if self.exact:
            return mcnemar_mid_p(int(self.lost), int(self.gained))
        return self.p_below(0.0) if self.lost + self.gained else 1.0

    def p_below(self, value: float) -> float:
        """One-sided p of "the change is `value` or more": small where the loss is shown to be larger than -`value`."""
        scores = float(ndtr(tango_z(self.lost, self.gained, self.n, min(max(value / self.seen, -1.0), 1.0))))
        if self.exact:
            return scores
        missed = (1 - min(max((value - self.estimate) / self.possible, 0.0), 1.0)) ** self.n
        if self.se > 0:
            t = (self.estimate - value) / self.se
            p = float(stdtr(self.freedom, max(t, unskewed(t, self.skew))))
        else:
            p = 0.0 if self.estimate < value else 1.0
        return max(p, scores, missed) if self.sparse else p

    @property
    def variance(self) -> float:
        """The variance of one unit's change, per unit of `n`, including unseen changes; power is computed with it."""
        spread = self.n * self.se**2
        floor = unseen_flips(self.n) if self.exact or self.sparse else 0.0
        return max(spread, floor * self.seen * self.possible)

    def _low(self, tail: float) -> float:
        tango = self.seen * tango_lower(self.lost, self.gained, self.n, z_quantile(1 - tail))
        if self.exact:
            return tango
        low = self.estimate - self._reach(1 - tail) * self.se if self.clusters > 1 else self.limits[0]
        return max(min(low, tango, self.estimate - self._missed(tail)) if self.sparse else low, self.limits[0])

    def _high(self, tail: float) -> float:
        tango = -self.seen * tango_lower(self.gained, self.lost, self.n, z_quantile(1 - tail))
        if self.exact:
            return tango
        high = self.estimate - self._reach(tail) * self.se if self.clusters > 1 else self.limits[1]
        return min(max(high, tango, self.estimate + self._missed(tail)) if self.sparse else high, self.limits[1])

    def _missed(self, tail: float) -> float:
        """The largest change that `n` draws miss altogether with probability `tail`."""
        return self.possible * (1 - math.pow(tail, 1 / self.n))

    def _reach(self, probability: float) -> float:
        """How many standard errors a limit lies below the estimate: the outer of t's quantile and the skewed one."""
        t = float(stdtrit(self.freedom, probability))
        both = (t, skewed(t, self.skew))
        return max(both) if probability > 0.5 else min(both)


def unskewed(t: float, skew: float) -> float:
    """Hall's monotone transformation of a studentised estimate whose skewness is `skew`: nearly symmetric."""
    return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6


def skewed(x: float, skew: float) -> float:
    """The inverse of `unskewed`."""
    if abs(skew) < 1e-6:
        return x
    return 3 / skew * (float(np.cbrt(1 + skew * (x - skew / 6))) - 1)


def change_of(suite: Suite, scores: PairedScores) -> Change:
    """The change of a suite over paired items.

    Raises:
        DataError: scores outside [0, 1], or other than 0 and 1 where the suite is binary.

    Example:
        >>> suite = Suite("addition", "exact_match", "binary", margin=0.02)
        >>> change = change_of(suite, PairedScores.of(np.repeat([1.0, 0.0], 500), np.repeat([1.0, 0.0], [498, 502])))
        >>> change.estimate, change.lower_bound() > -suite.margin
        (-0.002, True)
    """
    if suite.relative:
        bits = scores.before * scores.weights
        saved = bits - scores.after * scores.weights
        return _clustered(ratio(saved, bits, scores.codes), (-math.inf, 1.0), bounded=False)
    check_bounded(scores, suite.name)
    if suite.kind == "binary":
        flip_counts(scores.before, scores.after)  # refuses values other than 0 and 1
    return change_of_scores(scores, rarest_influence(scores) if suite.metric == MACRO_F1 else 1.0)


def change_of_scores(scores: PairedScores, influence: float = 1.0) -> Change:
    """The change of scores in [0, 1]; `influence` is how many times 1/n a single item can change the mean."""
    binary = is_binary(scores.before) and is_binary(scores.after)
    if binary and is_unclustered(scores.codes) and np.ptp(scores.weights) == 0:
        lost, gained = flip_counts(scores.before, scores.after)
        n = scores.n
        shift = (gained - lost) / n
        return Change(
            estimate=shift,
            se=math.sqrt(max((lost + gained) / n - shift**2, 0.0) / n),
            skew=0.0,
            freedom=n - 1.0,
            clusters=n,
            n=n,
            lost=lost,
            gained=gained,
            exact=True,
            sparse=False,
            seen=1.0,
            possible=1.0,
            limits=(-1.0, 1.0),
        )
    summed = ratio((scores.after - scores.before) * scores.weights, scores.weights, scores.codes)
    return _clustered(summed, (-1.0, 1.0), bounded=True, possible=influence)


def rarest_influence(scores: PairedScores) -> float:
    """How much more than one of n items an item of the rarest class weighs in macro-F1: n / (classes * its items)."""
    if scores.labels is None:
        return 1.0
    counts = np.unique(scores.labels.astype(str), return_counts=True)[1]
    return max(scores.n / (len(counts) * int(counts.min())), 1.0)


def _clustered(summed: Ratio, limits: tuple[float, float], *, bounded: bool, possible: float = 1.0) -> Change:
    brought = summed.change / summed.weight.sum() * summed.effective  # by every cluster, to the mean of `n` units
    seen = float(np.abs(brought).max()) or possible
    few = summed.changed < FEW_CHANGED * possible**2 or summed.carrying < FEW_CARRYING * possible**2
    return Change(
        estimate=summed.estimate,
        se=summed.se,
        skew=summed.skew,
        freedom=summed.freedom,
        clusters=summed.clusters,
        n=summed.effective,
        lost=-float(brought[brought < 0].sum()) / seen,
        gained=float(brought[brought > 0].sum()) / seen,
        exact=False,
        sparse=bounded and few,
        seen=seen,
        possible=possible,
        limits=limits,
    )
