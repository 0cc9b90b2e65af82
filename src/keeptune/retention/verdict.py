"""Verdicts on the suites of one arm (SCIENCE: protocol, steps 6 and 7).

Decided in this order: Not measurable, Retained, Harmed, Inconclusive. Retained is a non-inferiority test of
each suite by itself; Harmed is Holm-adjusted over the suites of the arm. Clustered or non-binary scores from
fewer than 30 clusters are Inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keeptune.core.records import Interval, SuiteVerdict, Verdict
from keeptune.retention import wording
from keeptune.retention.binary import mcnemar_worse, tango_lower, z_quantile
from keeptune.retention.bootstrap import (
    MIN_CLUSTERS,
    Bootstrap,
    FloatArray,
    is_unclustered,
    ratio_bootstrap,
    relative_bootstrap,
)
from keeptune.retention.intervals import flip_counts, is_binary
from keeptune.retention.pairs import PairedScores, Suite, check_bounded
from keeptune.retention.power import flip_rate, items_needed, items_to_show_harm, smallest_decidable_margin

CHANCE_SE = 3.0  # standard errors above chance from which a skill counts as present


@dataclass(frozen=True)
class Evidence:
    """What the paired scores of one suite say, before any verdict."""

    before: float
    after: float
    change: float  # positive is better
    interval: Interval | None  # None for a single cluster
    lower: float | None
    p: float | None  # None where the suite takes part in no test
    variance: float  # of one item's paired difference, clustering included; what power is computed with
    lost: int | None
    gained: int | None
    measurable: bool
    enough: bool  # clusters


def judge(
    suites: Sequence[tuple[Suite, PairedScores]], alpha: float = 0.05, seed: int = 0, resamples: int = 10_000
) -> tuple[SuiteVerdict, ...]:
    """Verdicts on all suites of one arm, in the order given.

    Args:
        suites: every suite of the arm; Holm's correction runs over those that can be tested.
        alpha: one-sided level of both tests; intervals are two-sided at 1 - alpha.
        seed: of the bootstrap.
        resamples: of the bootstrap, 10,000 or more for a published verdict.
    """
    found = [gather(suite, scores, alpha, seed, resamples) for suite, scores in suites]
    adjusted = iter(holm([e.p for e in found if e.p is not None]))
    family = sum(e.p is not None for e in found)
    return tuple(
        decide(suite, scores, evidence, next(adjusted) if evidence.p is not None else None, family, alpha)
        for (suite, scores), evidence in zip(suites, found, strict=True)
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) step-down adjusted p values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def gather(suite: Suite, scores: PairedScores, alpha: float, seed: int, resamples: int) -> Evidence:
    """Estimates, limits and p of one suite: Tango and McNemar for unclustered binary items, else bootstrap."""
    if suite.kind == "binary":
        flip_counts(scores.before, scores.after)  # refuses values other than 0 and 1
    if not suite.relative:
        check_bounded(scores, suite.name)
    binary = not suite.relative and is_binary(scores.before) and is_binary(scores.after)
    flips = flip_counts(scores.before, scores.after) if binary else None
    if flips and is_unclustered(scores.codes) and np.ptp(scores.weights) == 0:
        return _gather_binary(suite, scores, *flips, alpha)
    return _gather_resampled(suite, scores, flips, alpha, seed, resamples)


def _gather_binary(suite: Suite, scores: PairedScores, lost: int, gained: int, alpha: float) -> Evidence:
    n, z = scores.n, z_quantile(1 - alpha / 2)
    before, measurable = float(scores.before.mean()), is_measurable(suite, scores)
    return Evidence(
        before=before,
        after=float(scores.after.mean()),
        change=(gained - lost) / n,
        interval=Interval(low=tango_lower(lost, gained, n, z), high=-tango_lower(gained, lost, n, z), level=1 - alpha),
        lower=tango_lower(lost, gained, n, z_quantile(1 - alpha)),
        p=mcnemar_worse(lost, gained) if measurable else None,
        variance=flip_rate(lost + gained, n, alpha),
        lost=lost,
        gained=gained,
        measurable=measurable,
        enough=True,
    )


def _gather_resampled(
    suite: Suite, scores: PairedScores, flips: tuple[int, int] | None, alpha: float, seed: int, resamples: int
) -> Evidence:
    boot = _bootstrap(suite, scores, seed, resamples)
    measurable, enough = is_measurable(suite, scores), boot.clusters >= MIN_CLUSTERS
    several = boot.clusters > 1
    low, high = boot.interval(1 - alpha)
    per_cluster = boot.clusters * boot.se**2
    if boot.sparse:
        per_cluster = max(per_cluster, flip_rate(boot.lost + boot.gained, boot.clusters, alpha))
    return Evidence(
        before=_mean(scores.before, scores),
        after=_mean(scores.after, scores),
        change=boot.estimate,
        interval=Interval(low=low, high=high, level=1 - alpha) if several else None,
        lower=boot.lower_bound(1 - alpha) if several else None,
        p=boot.p_worse if measurable and enough else None,
        variance=per_cluster * scores.n / boot.clusters,
        lost=flips[0] if flips else None,
        gained=flips[1] if flips else None,
        measurable=measurable,
        enough=enough,
    )


def _bootstrap(suite: Suite, scores: PairedScores, seed: int, resamples: int) -> Bootstrap:
    if suite.relative:
        return relative_bootstrap(scores.before, scores.after, scores.weights, scores.codes, resamples, seed)
    change = (scores.after - scores.before) * scores.weights
    return ratio_bootstrap(change, scores.weights, scores.codes, (-1.0, 1.0), resamples, seed)


def _mean(values: FloatArray, scores: PairedScores) -> float:
    return float(values @ scores.weights / scores.weights.sum())


def is_measurable(suite: Suite, scores: PairedScores) -> bool:
    """True if the base is above chance by three standard errors; always for bits per byte.

    The standard error is the larger of the base's own (clustered) and that of guessing, so that a handful of
    right answers isn't taken for a skill. Without a chance level the floor is zero.
    """
    if suite.relative:
        return True
    before, chance, k = _mean(scores.before, scores), suite.chance or 0.0, scores.n_clusters
    if k < 2:
        return before > chance
    residual = np.bincount(scores.codes, (scores.before - before) * scores.weights)
    own = k / (k - 1) * float(residual @ residual) / float(scores.weights.sum()) ** 2
    guessing = chance * (1 - chance) / scores.n
    return before > chance and before - chance >= CHANCE_SE * math.sqrt(max(own, guessing))


def decide(
    suite: Suite, scores: PairedScores, evidence: Evidence, p_holm: float | None, family: int, alpha: float
) -> SuiteVerdict:
    """The verdict in the protocol's order, with its sentence."""
    size = wording.size_text(scores.n, scores.n_clusters)
    interval, lower, change = evidence.interval, evidence.lower, evidence.change
    verdict: Verdict
    small_loss, needed = False, None
    if not evidence.measurable:
        verdict, sentence = (
            "Not measurable",
            wording.not_measurable(suite, evidence.before, scores.n, scores.n_clusters),
        )
    elif not evidence.enough or interval is None or lower is None or p_holm is None:
        verdict = "Inconclusive"
        clusters = max(
            MIN_CLUSTERS, math.ceil(_needed(suite, evidence, family, alpha)[0] * scores.n_clusters / scores.n)
        )
        needed = math.ceil(clusters * scores.n / scores.n_clusters)
        sentence = wording.too_few_clusters(suite, interval, scores.n, scores.n_clusters, clusters)
    elif lower > -suite.margin:
        verdict, small_loss = "Retained", interval.high < 0
        sentence = wording.retained(suite, change, interval, lower, size, small_loss)
    elif p_holm < alpha:
        verdict = "Harmed"
        sentence = wording.harmed(suite, change, interval, p_holm, size)
    else:
        verdict = "Inconclusive"
        needed, as_harm = _needed(suite, evidence, family, alpha)
        needed = max(needed, scores.n + 1)
        sentence = wording.inconclusive(suite, interval, scores.n, needed, as_harm)
    return _record(suite, scores, evidence, verdict, sentence, p_holm, small_loss, needed, alpha)


def _needed(suite: Suite, evidence: Evidence, family: int, alpha: float) -> tuple[int, bool]:
    """(items that settle the margin with power .8 if the change is as seen, whether they settle it as Harmed).

    Gains are planned with as no change. Of Retained and Harmed (at Holm's strictest level) the one that
    needs fewer items counts; a loss of the margin or more can only be shown as Harmed.
    """
    change, variance = min(evidence.change, 0.0), evidence.variance
    ways = []
    if change > -suite.margin:
        ways.append((items_needed(suite.margin, variance, change, alpha=alpha), False))
    if change < 0:
        about_zero = max(variance, change**2)
        ways.append((items_to_show_harm(change, about_zero, alpha=alpha / max(family, 1)), True))
    return min(ways)


def _record(
    suite: Suite,
    scores: PairedScores,
    evidence: Evidence,
    verdict: Verdict,
    sentence: str,
    p_holm: float | None,
    small_loss: bool,
    needed: int | None,
    alpha: float,
) -> SuiteVerdict:
    flipped = None if evidence.lost is None or evidence.gained is None else evidence.lost + evidence.gained
    decidable = smallest_decidable_margin(scores.n, evidence.variance, alpha=alpha) if evidence.enough else None
    return SuiteVerdict(
        suite=suite.name,
        metric=suite.metric,
        verdict=verdict,
        sentence=sentence,
        n=scores.n,
        clusters=scores.n_clusters,
        before=evidence.before,
        after=evidence.after,
        chance=suite.chance,
        change=evidence.change,
        interval=evidence.interval,
        lower_bound=evidence.lower,
        margin=suite.margin,
        p=evidence.p,
        p_holm=p_holm,
        gained=evidence.gained,
        lost=evidence.lost,
        flips=None if flipped is None else flipped / scores.n,
        smallest_decidable=decidable,
        n_needed=needed,
        small_loss=small_loss,
        relative=suite.relative,
    )
