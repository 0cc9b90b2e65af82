"""How many items decide a margin, and which margin a number of items can decide (SCIENCE, section 4).

`flips` is the share of items whose correctness changes, which is the variance of a paired binary difference
about zero; for other scores give the variance of the paired difference. Margins and changes are fractions.
"""

from __future__ import annotations

import math

from keeptune.retention.binary import z_quantile

POWER = 0.8  # probability with which items shall decide a margin


def smallest_decidable_margin(n: float, flips: float, alpha: float = 0.05) -> float:
    """The margin at which `n` items say Retained with probability `POWER` when nothing changed.

    (z_{1-alpha} + z_power) sqrt(flips / n), one-sided.
    """
    return (z_quantile(1 - alpha) + z_quantile(POWER)) * math.sqrt(flips / n)


def items_needed(room: float, flips: float, alpha: float = 0.05) -> int:
    """Items with which a change is shown, with probability `POWER`, to lie on its own side of the margin.

    `room` is the distance between the true change and -margin: the margin itself where nothing changed (Retained), what
    exceeds it where more was lost (Harmed).

    Raises:
        ValueError: no room; no number of items settles that.
    """
    if room <= 0:
        raise ValueError(f"a true change at a distance of {room} from the margin is settled by no number of items")
    z = z_quantile(1 - alpha) + z_quantile(POWER)
    return math.ceil(flips * (z / room) ** 2)


def unseen_flips(n: float) -> float:
    """The largest share of changing items of which `n` items may show none: a quiet sample proves no quiet population.

    The exact 95 % bound, 1 - 0.05^(1/n), about 3/n.
    """
    return 1 - math.pow(0.05, 1 / n)
