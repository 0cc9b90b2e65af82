"""A Gaussian process on top of a linear trend: what a few noisy measurements say of places not measured.

y(x) = x · w + r(x) + noise, with w normal around a stated trend and r a smooth rest (squared exponential kernel). With
stated scales instead of fitted ones a handful of measurements is enough, and the same measurements always say the same.
Rasmussen and Williams 2006, sections 2.2 and 2.7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is believed of a quantity before anything is measured. `D` coordinates, the first of them 1.

    Attributes:
        trend: mean of the slopes [D].
        doubt: standard deviation of each [D].
        rest: standard deviation of what is not linear.
        width: distance in each coordinate over which the rest changes [D].
    """

    trend: Floats
    doubt: Floats
    rest: float
    width: Floats

    def covariance(self, a: Floats, b: Floats) -> Floats:
        """Between the quantity at places ``a`` [N, D] and ``b`` [M, D], as [N, M]."""
        scaled_a, scaled_b = a / self.width, b / self.width
        squares = (scaled_a**2).sum(1)[:, None] + (scaled_b**2).sum(1)[None] - 2 * scaled_a @ scaled_b.T
        smooth: Floats = self.rest**2 * np.exp(-np.maximum(squares, 0.0) / 2)
        return (a * self.doubt**2) @ b.T + smooth

    def between(self, x: Floats, at: Floats) -> Between:
        """What is known of the quantity before it is measured at ``x`` [N, D] and asked about at ``at`` [M, D]."""
        own = (at**2 * self.doubt**2).sum(1) + self.rest**2
        return Between(x @ self.trend, at @ self.trend, self.covariance(x, x), self.covariance(at, x), own)


@dataclass(frozen=True, eq=False)
class Between:
    """A quantity at places that are measured and at places that are asked about, normal together."""

    measured: Floats  # mean [N]
    asked: Floats  # mean [M]
    covariance: Floats  # of the measured [N, N]
    cross: Floats  # of asked and measured [M, N]
    variance: Floats  # of the asked [M]

    def given(self, y: Floats, noise: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation [M] of the quantity itself, without noise.

        Args:
            y: what was measured [N].
            noise: covariance of what the measurements are off by [N, N], positive definite.
        """
        root = cholesky(self.covariance + noise, lower=True)
        spread = solve_triangular(root, self.cross.T, lower=True)  # [N, M]
        mean: Floats = self.asked + spread.T @ solve_triangular(root, y - self.measured, lower=True)
        return mean, np.sqrt(np.maximum(self.variance - (spread**2).sum(0), 1e-12))
