"""Intervals of one mean, and of a difference between methods over seeds (SCIENCE: protocol, tests)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from keeptune.retention.binary import wilson, z_quantile
from keeptune.retention.clusters import cluster_codes, is_unclustered, ratio
from keeptune.retention.pairs import is_binary

MIN_SEEDS = 3
FEW_DIFFERENT = 10  # clusters; with fewer that differ from the commonest mean, Student's t says little


def mean_interval(
    scores: ArrayLike,
    clusters: ArrayLike,
    level: float = 0.95,
    weights: ArrayLike | None = None,
    *,
    bounded: bool = True,
) -> tuple[float, float]:
    """Interval of one (weighted) mean of scores [N]: in [0, 1], or only positive where not `bounded`.

    Wilson's for unclustered binary scores, else Student's t on the cluster jackknife's error; where nearly all clusters
    of a bounded score agree (all 0, all 1), it's widened to contain Wilson's interval over effective clusters.
    """
    values = np.asarray(scores, dtype=np.float64)
    weight = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = cluster_codes(clusters)
    z = z_quantile((1 + level) / 2)
    if bounded and values.size and is_binary(values) and is_unclustered(codes) and np.ptp(weight) == 0:
        return wilson(float(values.mean()), len(values), z)
    own = ratio(values * weight, weight, codes)
    if own.clusters < 2:
        return (0.0, 1.0) if bounded else (0.0, 2 * own.estimate)
    half = float(stdtrit(own.freedom, (1 + level) / 2)) * own.se
    low, high = max(own.estimate - half, 0.0), own.estimate + half
    if not bounded:
        return low, high
    high = min(high, 1.0)
    if own.different < FEW_DIFFERENT:
        wide = wilson(own.estimate, own.effective, z)
        low, high = min(low, wide[0]), max(high, wide[1])
    return low, high


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
