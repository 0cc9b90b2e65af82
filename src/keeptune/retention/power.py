"""How many items decide a margin, and which margin a number of items can decide (SCIENCE, section 4).

`flips` is the share of items whose correctness changes, which is the variance of a paired binary difference
about zero; for other scores give the variance of the paired difference. Margins and changes are fractions.
`design_effect` is the variance of a clustered mean over that of independent items (Kish 1965).
"""

from __future__ import annotations

import math

from keeptune.retention.binary import z_quantile


def smallest_decidable_margin(
    n: int, flips: float, power: float = 0.8, alpha: float = 0.05, design_effect: float = 1.0
) -> float:
    """The margin at which `n` items say Retained with probability `power` when nothing changed.

    (z_{1-alpha} + z_power) sqrt(design_effect * flips / n), one-sided.
    """
    return (z_quantile(1 - alpha) + z_quantile(power)) * math.sqrt(design_effect * flips / n)


def items_needed(
    margin: float,
    flips: float,
    true_change: float = 0.0,
    power: float = 0.8,
    alpha: float = 0.05,
    design_effect: float = 1.0,
) -> int:
    """Items with which Retained is said with probability `power` at a true change above -margin.

    Raises:
        ValueError: the true change is a loss of the margin or more; no number of items gives Retained then.
    """
    room = margin + true_change
    if room <= 0:
        raise ValueError(f"a true change of {true_change} is not above -margin = {-margin}")
    z = z_quantile(1 - alpha) + z_quantile(power)
    return math.ceil(design_effect * flips * (z / room) ** 2)


def items_to_show_harm(
    true_change: float, flips: float, power: float = 0.8, alpha: float = 0.05, design_effect: float = 1.0
) -> int:
    """Items with which a true loss is significant (one-sided `alpha`) with probability `power` (Connor 1987).

    Raises:
        ValueError: `true_change` isn't a loss.
    """
    if true_change >= 0:
        raise ValueError(f"a true change of {true_change} is not a loss")
    spread = math.sqrt(max(flips - true_change**2, 0.0))
    z_sum = z_quantile(1 - alpha) * math.sqrt(flips) + z_quantile(power) * spread
    return math.ceil(design_effect * (z_sum / true_change) ** 2)


def flip_rate(changed: int, n: int, alpha: float = 0.05) -> float:
    """Share of changed items to plan with: as seen, but no less than the upper bound after none was seen.

    The bound is the exact one, 1 - alpha^(1/n), about 3/n: a quiet sample doesn't prove a quiet population.
    """
    return max(changed / n, 1 - math.pow(alpha, 1 / n))
