"""One test of any loss at all, over the suites of an arm together (SCIENCE: protocol, step 7).

The statistic is the mean over the suites of the change in units of margins: each suite counts alike, and points and per
cent of the bits are not added up. Suites are strata: their items are different, so that their errors are independent,
and each brings its own limits (`change`). These are put together as Zou & Donner (2008, Statistics in Medicine 27) do:
the distance from the estimate to the limit of a sum is the root of the summed squares of its parts' distances. Limits
that are not symmetric, and suites in which nothing flipped, keep their width by that. The p value is the tail at which
the upper limit reaches zero.

Small losses on many suites, none of which is shown by itself, show here; a loss on one of many may not. So it stands
beside the verdicts and decides none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.optimize import brentq

from keeptune.core.records import Interval, Overall, SuiteVerdict
from keeptune.retention.change import Change, change_of
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.sentences import overall_sentence

ALPHA = 0.05  # of the two-sided interval, and of the one-sided test of any loss
SMALLEST_P = 1e-9

Margins = Sequence[tuple[Change, float]]  # changes with the margins that are their units


def overall(suites: Sequence[tuple[Suite, PairedScores]], verdicts: Sequence[SuiteVerdict]) -> Overall | None:
    """The pooled change of the suites that were tested, in margins; None with fewer than two.

    Args:
        suites: as `judge` was given them.
        verdicts: as `judge` gave them, in the same order.
    """
    tested = [
        (change_of(suite, scores), verdict.margin)
        for (suite, scores), verdict in zip(suites, verdicts, strict=True)
        if verdict.p is not None
    ]
    if len(tested) < 2:
        return None
    change, p = _mean(tested), _p_worse(tested)
    interval = Interval(low=_lower(tested, ALPHA / 2), high=_upper(tested, ALPHA / 2), level=1 - ALPHA)
    sentence = overall_sentence(len(tested), change, interval, p, shown=p < ALPHA)
    return Overall(suites=len(tested), change=change, interval=interval, p=p, sentence=sentence)


def _mean(tested: Margins) -> float:
    return sum(change.estimate / margin for change, margin in tested) / len(tested)


def _lower(tested: Margins, tail: float) -> float:
    return _mean(tested) - _distance([(c.estimate - c.lower_bound(1 - tail)) / m for c, m in tested])


def _upper(tested: Margins, tail: float) -> float:
    return _mean(tested) + _distance([(c.upper_bound(1 - tail) - c.estimate) / m for c, m in tested])


def _distance(parts: Sequence[float]) -> float:
    return math.hypot(*parts) / len(parts)


def _p_worse(tested: Margins) -> float:
    """One-sided p of "on the whole nothing was lost": the tail at which the upper limit is zero."""

    def limit(tail: float) -> float:
        return _upper(tested, tail) if tail < 0.5 else _lower(tested, 1 - tail)

    if limit(1 - SMALLEST_P) >= 0:
        return 1.0
    if limit(SMALLEST_P) < 0:
        return SMALLEST_P
    return float(brentq(limit, SMALLEST_P, 1 - SMALLEST_P, xtol=1e-12))
