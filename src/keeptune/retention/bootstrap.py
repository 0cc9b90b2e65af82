"""Paired cluster bootstrap, studentised (Efron & Tibshirani 1993, ch. 12; Davison & Hinkley 1997, 5.2).

The statistic is a ratio of sums over clusters, theta = sum(num) / sum(den): a weighted mean, or a relative
change in bits. Whole clusters are drawn with replacement; a resample is a row of multiplicities, so that all
its sums come from one matrix product. Shapes: `K` clusters, `R` resamples, `N` items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from keeptune.core.errors import DataError
from keeptune.retention.binary import mcnemar_worse, tango_lower, z_quantile

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_CLUSTERS = 30  # with fewer, cluster methods are not to be trusted: no verdict
FEW_CHANGED = 10  # with fewer changed clusters, resamples without any change are common
CHUNK_CELLS = 1_000_000  # multiplicities held at once: 8 MB


@dataclass(frozen=True)
class Bootstrap:
    """The bootstrap distribution of one change (positive is better).

    With fewer than 30 clusters `t` is empty and limits come from Student's t with K - 1 degrees of freedom.
    Where fewer than ten clusters changed, resampling them says little: limits are then widened to contain
    Tango's score interval in which each cluster counts as one item.
    """

    estimate: float
    se: float  # linearised, clustered
    clusters: int
    effective: float  # clusters of equal weight that would carry as much: (sum den)² / sum den²
    lost: int  # clusters that got worse
    gained: int  # clusters that got better
    t: FloatArray  # [R] studentised resamples, sorted
    limits: tuple[float, float]  # what the statistic can be

    @property
    def sparse(self) -> bool:
        """True where too few clusters changed, or all by the same amount, for resampling to be informative."""
        return self.lost + self.gained < FEW_CHANGED or self.se <= 1e-12 * abs(self.estimate)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval with equal tails."""
        tail = (1 - level) / 2
        return self._low(tail), self._high(tail)

    def resampled_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of resampling alone, without the widening for sparse changes."""
        tail = (1 - level) / 2
        return self._resampled(1 - tail), self._resampled(tail)

    def lower_bound(self, level: float = 0.95) -> float:
        """One-sided lower bound."""
        return self._low(1 - level)

    @property
    def p_worse(self) -> float:
        """One-sided p of "no worse than before"; 1.0 where nothing changed."""
        if self.clusters < 2:
            return 1.0
        p = self._p_resampled() if self.se > 0 else 0.0
        return max(p, mcnemar_worse(self.lost, self.gained)) if self.sparse else p

    def _p_resampled(self) -> float:
        observed = self.estimate / self.se
        if not len(self.t):
            return float(stdtr(self.clusters - 1, observed))
        return float((1 + np.searchsorted(self.t, observed, side="right")) / (1 + len(self.t)))

    def _quantile(self, probability: float) -> float:
        """Quantile of the studentised distribution, an order statistic on the safe (outer) side."""
        if not len(self.t):
            return float(stdtrit(self.clusters - 1, probability))
        rank = probability * (len(self.t) + 1)
        rank = math.ceil(rank) if probability > 0.5 else math.floor(rank)
        return float(self.t[min(max(int(rank), 1), len(self.t)) - 1])

    def _low(self, tail: float) -> float:
        low = self._resampled(1 - tail)
        if self.sparse:
            low = min(low, tango_lower(self.lost, self.gained, self._tango_n(), z_quantile(1 - tail)))
        return low

    def _high(self, tail: float) -> float:
        high = self._resampled(tail)
        if self.sparse:
            high = max(high, -tango_lower(self.gained, self.lost, self._tango_n(), z_quantile(1 - tail)))
        return high

    def _resampled(self, probability: float) -> float:
        """The limit that leaves `probability` of the studentised distribution below; one cluster knows nothing."""
        if self.clusters < 2:
            return self.limits[0 if probability > 0.5 else 1]
        value = self.estimate - self._quantile(probability) * self.se
        return min(max(value, self.limits[0]), self.limits[1])

    def _tango_n(self) -> float:
        return max(self.effective, self.lost + self.gained)


def cluster_codes(clusters: ArrayLike) -> IntArray:
    """Cluster names of any type -> codes 0..K-1, [N] int64."""
    names: NDArray[Any] = np.asarray(clusters)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def is_unclustered(codes: IntArray) -> bool:
    """True if every item is a cluster of its own."""
    return int(codes.max()) + 1 == len(codes)


def cluster_bootstrap(
    difference: ArrayLike,
    clusters: ArrayLike,
    weights: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap of the weighted mean of paired differences in [-1, 1], resampled by cluster.

    Args:
        difference: after - before, [N].
        clusters: name or number of each item's cluster, [N].
        weights: positive, [N]; 1 where left out.
    """
    difference = np.asarray(difference, dtype=np.float64)
    weights = np.ones_like(difference) if weights is None else np.asarray(weights, dtype=np.float64)
    return ratio_bootstrap(weights * difference, weights, cluster_codes(clusters), (-1.0, 1.0), resamples, seed)


def relative_bootstrap(
    before: ArrayLike,
    after: ArrayLike,
    size: ArrayLike,
    clusters: ArrayLike,
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap of the relative change -(after - before) / before of bits per byte, positive is better.

    Blocks [N] weigh by their `size` in bytes: the statistic is the relative change of the total bits.
    """
    size = np.asarray(size, dtype=np.float64)
    bits = np.asarray(before, dtype=np.float64) * size
    saved = bits - np.asarray(after, dtype=np.float64) * size
    return ratio_bootstrap(saved, bits, cluster_codes(clusters), (-math.inf, 1.0), resamples, seed)


def ratio_bootstrap(
    numerator: FloatArray,
    denominator: FloatArray,
    codes: IntArray,
    limits: tuple[float, float],
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap of sum(numerator) / sum(denominator) by cluster; items [N], codes from `cluster_codes`.

    Raises:
        DataError: no items, or a denominator that doesn't sum to a positive number in every cluster.
    """
    if not len(codes):
        raise DataError("no items to compare", remedy="give the suite at least one test item")
    num = np.bincount(codes, numerator).astype(np.float64)  # [K]
    den = np.bincount(codes, denominator).astype(np.float64)
    if not np.all(den > 0):
        raise DataError("a cluster has no weight", remedy="leave out empty texts and items of weight 0")
    estimate = float(num.sum() / den.sum())
    residual = num - estimate * den
    return Bootstrap(
        estimate=estimate,
        se=_linear_se(residual, den),
        clusters=len(den),
        effective=float(den.sum() ** 2 / (den**2).sum()),
        lost=int(np.count_nonzero(num < 0)),
        gained=int(np.count_nonzero(num > 0)),
        t=_studentised(residual, den, resamples, seed) if len(den) >= MIN_CLUSTERS else np.empty(0),
        limits=limits,
    )


def _linear_se(residual: FloatArray, den: FloatArray) -> float:
    """Standard error of a ratio by linearisation, K/(K-1) corrected; 0 for one cluster."""
    k = len(den)
    return math.sqrt(k / (k - 1) * float(residual @ residual)) / float(den.sum()) if k > 1 else 0.0


def _studentised(residual: FloatArray, den: FloatArray, resamples: int, seed: int) -> FloatArray:
    """(theta* - theta) / se* of every resample, sorted. Resamples without spread carry no value and are left out."""
    shift, variance = resample(residual[:, None], den, resamples, seed)
    valid = variance > 0
    return np.sort(shift[valid] / np.sqrt(variance[valid]))


def resample(residual: FloatArray, den: FloatArray, resamples: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """(theta* - theta, se*²) of L ratios that share a denominator, each [R, L], from the same draws.

    Args:
        residual: num - theta * den of every cluster, [K, L].
        den: denominator of every cluster, [K], positive.
        resamples: R.
        seed: of the draws.

    The variance is 0 where a resample has no spread.
    """
    k, columns = residual.shape
    terms = np.concatenate(
        [residual, residual**2, residual * den[:, None], den[:, None], den[:, None] ** 2], axis=1
    )  # [K, 3 L + 2]
    shifts, variances = [], []
    for counts in multiplicities(k, resamples, seed):
        sums = counts @ terms
        first, rr, rd = (sums[:, i * columns : (i + 1) * columns] for i in range(3))
        total, dd = sums[:, -2:-1], sums[:, -1:]
        shift = first / total
        spread = rr - 2 * shift * rd + shift**2 * dd  # sum of squared residuals around theta*
        spread[spread <= 1e-12 * (rr + shift**2 * dd)] = 0.0
        shifts.append(shift)
        variances.append(k / (k - 1) * spread / total**2)
    return np.concatenate(shifts), np.concatenate(variances)


def multiplicities(clusters: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each cluster is drawn in each resample: chunks [rows, K] whose rows sum to K."""
    rows = max(1, CHUNK_CELLS // clusters)
    for index, start in enumerate(range(0, resamples, rows)):
        yield _chunk(clusters, min(rows, resamples - start), seed, index)


@lru_cache(maxsize=4)  # suites of equal size share their draws; at most 32 MB
def _chunk(clusters: int, rows: int, seed: int, index: int) -> FloatArray:
    drawn = np.random.default_rng([seed, index]).integers(clusters, size=(rows, clusters))
    cells = (drawn + clusters * np.arange(rows)[:, None]).ravel()
    counts = np.bincount(cells, minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)
    counts.flags.writeable = False
    return counts
