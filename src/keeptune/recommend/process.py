"""A Gaussian process on top of a linear trend: what a few noisy measurements say of places not measured.

y(x) = x · w + r(x) + noise, with w normal around a stated trend and r a smooth rest (squared exponential kernel). With
stated scales instead of fitted ones a handful of measurements is enough, and the same measurements always say the same.
Rasmussen and Williams 2006, sections 2.2 and 2.7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

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

    def after(self, x: Floats, y: Floats, noise: Floats, at: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the quantity itself, without noise, given measurements.

        Args:
            x: places measured [N, D].
            y: what was measured [N].
            noise: standard deviation of each measurement [N], above 0.
            at: places asked about [M, D].

        Returns:
            Two arrays [M].
        """
        factor = cho_factor(self.covariance(x, x) + np.diag(noise**2))
        cross = self.covariance(at, x)
        mean: Floats = at @ self.trend + cross @ cho_solve(factor, y - x @ self.trend)
        own = (at**2 * self.doubt**2).sum(1) + self.rest**2
        explained = (cross * cho_solve(factor, cross.T).T).sum(1)
        return mean, np.sqrt(np.maximum(own - explained, 1e-12))
