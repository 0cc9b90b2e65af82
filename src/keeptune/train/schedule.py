"""Learning rate over the steps of a run."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, peak: float, warmup: float, final: float = 0.1) -> float:
    """Rate of update ``step`` (1 to ``steps``): linear warm-up over a share of the steps, then a half cosine.

    The first update already has a rate above zero, the last one has ``final`` x ``peak``.
    """
    warm = math.ceil(warmup * steps)
    if step <= warm:
        return peak * step / warm
    progress = (step - warm) / max(steps - warm, 1)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)
