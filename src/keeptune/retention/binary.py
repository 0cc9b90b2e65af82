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


def tango_z(lost: float, gained: float, n: float, change: float) -> float:
    """Score statistic of a true change of `change` against what was seen: large and negative where less was seen.

    Standard normal where the true change is `change` (Tango 1998, eq. 7); 0 where nothing speaks for either side.
    """
    error = math.sqrt(_null_variance(change, lost, gained, n))
    off = gained - lost - n * change
    return off / error if error > 0 else (0.0 if off == 0 else math.copysign(math.inf, off))


def mcnemar_mid_p(lost: int, gained: int) -> float:
    """One-sided mid-p McNemar (Fagerland et al. 2013): P(X > lost) + P(X = lost) / 2 over lost + gained fair coins.

    The exact p is too large by half of the probability of what was seen; the mid-p holds its level on average. 1.0
    without flips.
    """
    n = lost + gained
    if not n:
        return 1.0
    above = float(betainc(lost + 1, gained, 0.5)) if gained else 0.0
    seen = math.exp(math.lgamma(n + 1) - math.lgamma(lost + 1) - math.lgamma(gained + 1) - n * math.log(2))
    return above + seen / 2


def wilson(mean: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a binary mean over `n` items at the normal quantile `z`."""
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
