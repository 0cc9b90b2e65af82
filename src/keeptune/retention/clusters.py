"""Sums over clusters, and the standard error of a ratio of them (SCIENCE: protocol, tests).

The statistic is theta = sum(num) / sum(den) over `K` clusters: a weighted mean, or a relative change in bits. Its error
is the cluster jackknife's (CR3: Bell & McCaffrey 2002, Survey Methodology 28), which is not too small where a few large
clusters carry much of the weight. Student's t is read at the number of *effective* clusters less one,
K_eff = (sum den)² / sum den² (Kish 1965): 300 clusters of which one holds half of the items are as good as four.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keeptune.core.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def cluster_codes(clusters: ArrayLike) -> IntArray:
    """Cluster names of any type -> codes 0..K-1, [N] int64."""
    names: NDArray[Any] = np.asarray(clusters)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def is_unclustered(codes: IntArray) -> bool:
    """Whether every item is a cluster of its own."""
    return int(codes.max()) + 1 == len(codes)


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums over clusters, with its error."""

    estimate: float
    se: float  # cluster jackknife; 0 for one cluster
    skew: float  # of the estimate: the third moment of the clusters' influences over the cube of their spread
    clusters: int
    effective: float  # clusters of equal weight that would carry as much
    change: FloatArray  # numerator of every cluster, [K]
    weight: FloatArray  # denominator of every cluster, [K]

    @property
    def freedom(self) -> float:
        """Degrees of freedom of Student's t, at least 1."""
        return max(self.effective - 1, 1.0)

    @property
    def changed(self) -> float:
        """How many clusters changed, by their part in it: (sum |c|)² / sum c² over the changes c; 0 for none."""
        return _equally_large(np.abs(self.change))

    @property
    def different(self) -> int:
        """How many clusters differ from the commonest mean of a cluster."""
        means = (self.change / self.weight).round(12)
        return len(means) - int(np.unique(means, return_counts=True)[1].max())

    @property
    def carrying(self) -> float:
        """How many clusters carry the spread: `changed` over c² instead of c, less where a few changes are large."""
        return _equally_large(self.change**2)


def _equally_large(sizes: FloatArray) -> float:
    """How many clusters of equal size tell as much as clusters of these sizes; 0 where all are empty."""
    return float(sizes.sum() ** 2 / (sizes @ sizes)) if sizes.any() else 0.0


def ratio(numerator: FloatArray, denominator: FloatArray, codes: IntArray) -> Ratio:
    """sum(numerator) / sum(denominator) by cluster; items [N], codes from `cluster_codes`.

    Raises:
        DataError: no items, or a denominator that doesn't sum to a positive number in every cluster.
    """
    if not len(codes):
        raise DataError("no items to compare", remedy="give the suite at least one test item")
    num = np.bincount(codes, numerator).astype(np.float64)
    den = np.bincount(codes, denominator).astype(np.float64)
    if not np.all(den > 0):
        raise DataError("a cluster has no weight", remedy="leave out empty texts and items of weight 0")
    total, k = float(den.sum()), len(den)
    estimate = float(num.sum() / total)
    left_out = (num - estimate * den) / (total - den) if k > 1 else np.zeros(1)  # theta minus theta without the cluster
    spread = float(left_out @ left_out)
    return Ratio(
        estimate=estimate,
        se=math.sqrt((k - 1) / k * spread),
        skew=float(np.sum(left_out**3)) / spread**1.5 if spread > 0 else 0.0,
        clusters=k,
        effective=total**2 / float(den @ den),
        change=num,
        weight=den,
    )
