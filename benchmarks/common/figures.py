"""Medians with their spread, and ratios pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

Figure = dict[str, float]


def rounded(value: float, digits: int = 4) -> float:
    """To significant digits: more than the noise leaves."""
    return float(f"{value:.{digits}g}")


def spread(values: Sequence[float]) -> Figure:
    """Median, lowest, highest and number of the windows."""
    return {
        "median": rounded(statistics.median(values)),
        "low": rounded(min(values)),
        "high": rounded(max(values)),
        "n": len(values),
    }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Spread of rates over the peer's rates: each window over the peer's that was measured right after it."""
    return spread([a / b for a, b in zip(ours, theirs, strict=False)])
