"""Intervals and tests on arrays of paired scores (SCIENCE: protocol, tests)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from keeptune.core.errors import DataError
from keeptune.retention.binary import mcnemar_two_sided as _two_sided
from keeptune.retention.binary import mcnemar_worse, tango_lower, wilson, z_quantile
from keeptune.retention.bootstrap import (
    FEW_CHANGED,
    FloatArray,
    IntArray,
    cluster_codes,
    is_unclustered,
    ratio_bootstrap,
)

MIN_SEEDS = 3


def is_binary(scores: ArrayLike) -> bool:
    """True if every score is exactly 0 or 1."""
    values = np.asarray(scores, dtype=np.float64)
    return bool(np.all((values == 0) | (values == 1)))


def flip_counts(before: ArrayLike, after: ArrayLike) -> tuple[int, int]:
    """(lost, gained): how many of the binary items [N] went from 1 to 0 and from 0 to 1.

    Raises:
        DataError: arrays of different length, empty, or with values other than 0 and 1.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if old.shape != new.shape or old.ndim != 1 or not old.size:
        raise DataError(
            f"paired scores of shapes {old.shape} and {new.shape}", remedy="give one score per item, before and after"
        )
    if not (is_binary(old) and is_binary(new)):
        raise DataError("a binary score is neither 0 nor 1", remedy="declare the suite's kind as 'mean'")
    return int(np.count_nonzero(old > new)), int(np.count_nonzero(new > old))


def paired_binary_interval(before: ArrayLike, after: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Tango's score interval (1998) of mean(after) - mean(before) over binary items [N]. Never of zero width."""
    lost, gained = flip_counts(before, after)
    n, z = np.size(before), z_quantile((1 + level) / 2)
    return tango_lower(lost, gained, n, z), -tango_lower(gained, lost, n, z)


def paired_binary_lower_bound(before: ArrayLike, after: ArrayLike, level: float = 0.95) -> float:
    """One-sided lower bound of mean(after) - mean(before) by inversion of Tango's score test."""
    lost, gained = flip_counts(before, after)
    return tango_lower(lost, gained, np.size(before), z_quantile(level))


def mcnemar_exact(before: ArrayLike, after: ArrayLike) -> float:
    """Exact one-sided McNemar p that `after` is worse; binary items [N]."""
    return mcnemar_worse(*flip_counts(before, after))


def mcnemar_exact_two_sided(before: ArrayLike, after: ArrayLike) -> float:
    """Exact two-sided McNemar p; binary items [N]."""
    return _two_sided(*flip_counts(before, after))


def mean_interval(
    scores: ArrayLike,
    clusters: ArrayLike,
    level: float = 0.95,
    weights: ArrayLike | None = None,
    *,
    bounded: bool = True,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of one (weighted) mean of scores [N]: in [0, 1], or only positive where not `bounded`.

    Wilson's for unclustered binary scores, else the studentised cluster bootstrap; where nearly all clusters
    of a bounded score agree (all 0, all 1), it's widened to contain Wilson's interval over clusters.
    """
    values = np.asarray(scores, dtype=np.float64)
    weight = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = cluster_codes(clusters)
    z = z_quantile((1 + level) / 2)
    if bounded and values.size and is_binary(values) and is_unclustered(codes) and np.ptp(weight) == 0:
        return wilson(float(values.mean()), len(values), z)
    boot = ratio_bootstrap(values * weight, weight, codes, (0.0, 1.0 if bounded else math.inf), seed=seed)
    low, high = boot.resampled_interval(level)
    if bounded and _nearly_constant(values * weight, weight, codes):
        wide = wilson(boot.estimate, boot.effective, z)
        low, high = min(low, wide[0]), max(high, wide[1])
    return low, high if math.isfinite(high) else 2 * boot.estimate


def _nearly_constant(numerator: FloatArray, weight: FloatArray, codes: IntArray) -> bool:
    """True if fewer than ten clusters differ from the commonest cluster mean."""
    means = np.bincount(codes, numerator) / np.bincount(codes, weight)
    return len(means) - int(np.unique(means.round(12), return_counts=True)[1].max()) < FEW_CHANGED


def seed_t_interval(differences: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval of the mean difference between two methods, one paired difference per seed.

    None with fewer than three seeds: nothing is then said about one method beating another.
    """
    n = len(differences)
    if n < MIN_SEEDS:
        return None
    values = np.asarray(differences, dtype=np.float64)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    return float(values.mean()) - half, float(values.mean()) + half
