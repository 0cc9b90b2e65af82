"""Formulae on counts: one binary mean, and the change of a paired binary score.

Names used throughout: `n` items, of which `lost` went from 1 to 0 and `gained` from 0 to 1.
The change is (gained - lost) / n. Counts may be fractional where clusters stand in for items.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import betainc, ndtri


def z_quantile(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    return float(ndtri(probability))


def tango_lower(lost: float, gained: float, n: float, z: float) -> float:
    """Lower limit of the score interval of a paired change (Tango 1998, Statistics in Medicine 17, eq. 8).

    The smallest change whose score test at the normal quantile `z` isn't rejected. The limit for zero flips
    is -z²/(n + z²): the interval has a width however quiet the sample. The upper limit is
    ``-tango_lower(gained, lost, n, z)``.
    """
    if lost >= n:
        return -1.0
    if gained >= n:
        return (n - z * z) / (n + z * z)
    if lost + gained == 0:
        return -z * z / (n + z * z)

    def rejected_by(change: float) -> float:
        return gained - lost - n * change - z * math.sqrt(_null_variance(change, lost, gained, n))

    return float(brentq(rejected_by, -1.0, (gained - lost) / n, xtol=1e-15))


def _null_variance(change: float, lost: float, gained: float, n: float) -> float:
    """Variance of gained - lost where the true change is `change`, the nuisance share at its maximum likelihood.

    The share of lost items q solves 2n q² + B q + C = 0; of the two forms of the root the stable one is taken.
    """
    b = (2 * n - gained + lost) * change - gained - lost
    c = -lost * change * (1 - change)
    root = math.sqrt(max(b * b - 8 * n * c, 0.0))
    share_lost = (root - b) / (4 * n) if b < 0 else (-2 * c / (b + root) if c else 0.0)
    return max(n * (2 * share_lost + change * (1 - change)), 0.0)


def mcnemar_worse(lost: int, gained: int) -> float:
    """Exact one-sided McNemar p: P(X >= lost), X binomial over lost + gained fair coins. 1.0 without flips."""
    return float(betainc(lost, gained + 1, 0.5)) if lost else 1.0


def mcnemar_two_sided(lost: int, gained: int) -> float:
    """Exact two-sided McNemar p: twice the smaller tail, at most 1."""
    return min(1.0, 2 * min(mcnemar_worse(lost, gained), mcnemar_worse(gained, lost)))


def wilson(mean: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a binary mean over `n` items at the normal quantile `z`."""
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
