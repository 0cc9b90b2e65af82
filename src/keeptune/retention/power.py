"""How many items decide a margin, and which margin a number of items can decide (SCIENCE, section 4).

`flips` is the share of items whose correctness changes, which is the variance of a paired binary difference
about zero; for other scores give the variance of the paired difference. Margins and changes are fractions.
"""

from __future__ import annotations

import math

from keeptune.retention.binary import z_quantile


def smallest_decidable_margin(n: float, flips: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The margin at which `n` items say Retained with probability `power` when nothing changed.

    (z_{1-alpha} + z_power) sqrt(flips / n), one-sided.
    """
    return (z_quantile(1 - alpha) + z_quantile(power)) * math.sqrt(flips / n)


def items_needed(room: float, flips: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Items with which a change is shown, with probability `power`, to lie on its own side of the margin.

    `room` is the distance between the true change and -margin: the margin itself where nothing changed (Retained), what
    exceeds it where more was lost (Harmed).

    Raises:
        ValueError: no room; no number of items settles that.
    """
    if room <= 0:
        raise ValueError(f"a true change at a distance of {room} from the margin is settled by no number of items")
    z = z_quantile(1 - alpha) + z_quantile(power)
    return math.ceil(flips * (z / room) ** 2)


def flip_rate(changed: float, n: float, alpha: float = 0.05) -> float:
    """Share of changed items to plan with: as seen, but no less than the upper bound after none was seen.

    The bound is the exact one, 1 - alpha^(1/n), about 3/n: a quiet sample doesn't prove a quiet population.
    """
    return max(changed / n, 1 - math.pow(alpha, 1 / n))
