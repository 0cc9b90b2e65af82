"""Verdicts on the suites of one arm (SCIENCE: protocol, steps 6 and 7). All five are about the margin.

Decided in this order:

1. Not measurable: the base is not above chance, or the margin exceeds half of what it has above chance (`skill`).
2. Retained: the one-sided lower bound of the change is above -margin. Each suite by itself.
3. Harmed: the loss is shown to be larger than the margin, Holm-adjusted over the suites of the arm.
4. Worse: a loss is shown, Holm-adjusted; whether it exceeds the margin is open.
5. Inconclusive: neither; or clustered and continuous scores from fewer than 30 clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keeptune.core.records import Interval, ItemRecord, SuiteVerdict, Verdict
from keeptune.retention import sentences
from keeptune.retention.change import MIN_CLUSTERS, Change
from keeptune.retention.pairs import PairedScores, Suite, flip_counts, is_binary
from keeptune.retention.power import items_needed, smallest_decidable_margin
from keeptune.retention.sequential import Stop, change_until
from keeptune.retention.skill import Skill, skill_in, skill_of

MOST_ITEMS = 10_000_000  # more than this settles nothing in practice


@dataclass(frozen=True)
class Tested:
    """A suite's change with its place in the family of the arm's tests; adjusted p values, None where not tested."""

    skill: Skill
    scores: PairedScores
    change: Change
    p_worse: float | None
    p_harm: float | None
    harm_level: float  # level of the one-sided bound that Holm's step for Harmed reads
    same: bool  # the weights are equal, by content
    unasked: int  # items that were left, because those asked settled it

    @property
    def suite(self) -> Suite:
        """The suite, with its margin."""
        return self.skill.suite

    @property
    def margin(self) -> float:
        """The margin."""
        return self.suite.required_margin


def judge(
    suites: Sequence[tuple[Suite, PairedScores]],
    base: Mapping[str, Sequence[ItemRecord]] | None = None,
    alpha: float = 0.05,
    *,
    same_weights: bool = False,
    stops: Mapping[str, Stop] | None = None,
) -> tuple[SuiteVerdict, ...]:
    """Verdicts on all suites of one arm, in the order given.

    Args:
        suites: every suite of the arm; Holm's corrections run over those that can be tested.
        base: validation items of the base by suite, which decide what can be measured; a suite that is not named is
            decided by its judged items, and says so.
        alpha: one-sided level of all tests; intervals are two-sided at 1 - alpha.
        same_weights: both sides are the same model, by content: then every suite is Retained.
        stops: where suites ended that were asked in blocks (`sequential`); `suites` hold the items until there.

    Example:
        >>> from keeptune import ItemRecord, Suite, judge, pair
        >>> suite = Suite("addition", "exact_match", "binary", margin=0.02)
        >>> def item(number, score):
        ...     return ItemRecord(suite="addition", id=f"{number}", cluster=f"{number}", score=score)
        >>> before = [item(number, 1.0 if number < 900 else 0.0) for number in range(1000)]
        >>> after = [item(number, 1.0 if number < 800 else 0.0) for number in range(1000)]
        >>> (verdict,) = judge([(suite, pair(before, after))], base={"addition": before})
        >>> verdict.verdict, verdict.lost
        ('Harmed', 100)
        >>> verdict.sentence
        'lost at least 8.5 pt on addition, more than the margin of 2 pt (...)'
    """
    skills = [_skill(suite, scores, (base or {}).get(suite.name, ())) for suite, scores in suites]
    ended = stops or {}
    changes = [
        change_until(skill.suite, scores, ended.get(skill.suite.name))
        for skill, (_, scores) in zip(skills, suites, strict=True)
    ]
    tested = [s.measurable and c.enough and c.clusters > 1 for s, c in zip(skills, changes, strict=True)]
    worse = iter(holm([c.p_worse for c, t in zip(changes, tested, strict=True) if t]))
    against = [c.p_below(-s.suite.required_margin) for s, c, t in zip(skills, changes, tested, strict=True) if t]
    harm, levels = iter(holm(against)), iter(holm_levels(against, alpha))
    return tuple(
        decide(
            Tested(
                skill,
                scores,
                change,
                p_worse=next(worse) if ok else None,
                p_harm=next(harm) if ok else None,
                harm_level=next(levels) if ok else alpha,
                same=same_weights,
                unasked=ended[skill.suite.name].unasked if skill.suite.name in ended else 0,
            ),
            alpha,
        )
        for skill, (_, scores), change, ok in zip(skills, suites, changes, tested, strict=True)
    )


def _skill(suite: Suite, scores: PairedScores, base: Sequence[ItemRecord]) -> Skill:
    return skill_of(suite, base) if base else skill_in(suite, scores, "judged")


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) step-down adjusted p values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def holm_levels(p_values: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The level at which Holm's procedure tests each, in the order given: alpha / m for the smallest p, and so on."""
    order = np.argsort(p_values, kind="stable")
    levels = [0.0] * len(p_values)
    for rank, index in enumerate(order):
        levels[index] = alpha / (len(p_values) - rank)
    return tuple(levels)


def decide(tested: Tested, alpha: float) -> SuiteVerdict:
    """The verdict in the protocol's order, with its sentence."""
    change, margin, suite = tested.change, tested.margin, tested.suite
    low, high = change.interval(1 - alpha)
    interval = Interval(low=low, high=high, level=1 - alpha) if change.clusters > 1 or change.unchanged else None
    facts = sentences.Facts(suite, change.estimate, interval, tested.scores.n, tested.scores.n_clusters, tested.unasked)
    needed: int | None = None
    verdict: Verdict
    if tested.same:
        verdict, sentence = "Retained", sentences.same_weights(facts)
    elif not tested.skill.measurable:
        verdict, sentence = "Not measurable", sentences.not_measurable(suite, tested.skill)
    elif interval is not None and change.unchanged:
        verdict, sentence = "Retained", sentences.unchanged(facts)
    elif interval is None or tested.p_worse is None or tested.p_harm is None:
        clusters = max(MIN_CLUSTERS, math.ceil(_units(tested, alpha) or MIN_CLUSTERS))
        needed = math.ceil(clusters * tested.scores.n / tested.scores.n_clusters)
        verdict, sentence = "Inconclusive", sentences.too_few_clusters(facts, clusters)
    elif change.lower_bound(1 - alpha) > -margin:
        verdict, sentence = "Retained", sentences.retained(facts, change.lower_bound(1 - alpha))
    elif tested.p_harm < alpha:
        verdict = "Harmed"
        sentence = sentences.harmed(facts, change.upper_bound(1 - tested.harm_level), tested.p_harm)
    else:
        needed = _items(tested, alpha)
        worse = tested.p_worse < alpha
        verdict = "Worse" if worse else "Inconclusive"
        sentence = sentences.worse(facts, tested.p_worse, needed) if worse else sentences.inconclusive(facts, needed)
    if tested.skill.on == "judged" and verdict != "Not measurable" and not tested.same:
        sentence += sentences.ON_JUDGED
    return _record(tested, verdict, sentence, interval, needed, alpha)


def _units(tested: Tested, alpha: float) -> float | None:
    """Effective items that settle the margin with power .8 if the change is as seen; gains are planned with as none.

    Settled is Retained above the margin and Harmed below it. None where the change is too near the margin for any
    practicable number.
    """
    room = abs(min(tested.change.estimate, 0.0) + tested.margin)
    if room < 1e-9:
        return None
    units = items_needed(room, tested.change.variance, alpha=alpha)
    return units if units * tested.scores.n / tested.change.n <= MOST_ITEMS else None


def _items(tested: Tested, alpha: float) -> int | None:
    """Items that settle the margin; more than there are."""
    units = _units(tested, alpha)
    return None if units is None else max(math.ceil(units * tested.scores.n / tested.change.n), tested.scores.n + 1)


def _record(
    tested: Tested, verdict: Verdict, sentence: str, interval: Interval | None, needed: int | None, alpha: float
) -> SuiteVerdict:
    suite, scores, change, skill = tested.suite, tested.scores, tested.change, tested.skill
    binary = not suite.relative and is_binary(scores.before) and is_binary(scores.after)
    lost, gained = flip_counts(scores.before, scores.after) if binary else (None, None)
    several = interval is not None
    return SuiteVerdict(
        suite=suite.name,
        metric=suite.metric,
        verdict=verdict,
        sentence=sentence,
        n=scores.n,
        unasked=tested.unasked,
        clusters=scores.n_clusters,
        before=scores.mean(scores.before),
        after=scores.mean(scores.after),
        chance=suite.chance,
        change=change.estimate,
        interval=interval,
        lower_bound=change.lower_bound(1 - alpha) if several else None,
        upper_bound=change.upper_bound(1 - tested.harm_level) if several else None,
        margin=tested.margin,
        margin_share=tested.margin / skill.above if 0 < skill.above < math.inf else None,
        largest_margin=skill.largest_margin if math.isfinite(skill.largest_margin) else None,
        measured_on=skill.on,
        p=change.p_worse if tested.p_worse is not None else None,
        p_holm=tested.p_worse,
        p_harm=tested.p_harm,
        gained=gained,
        lost=lost,
        flips=None if lost is None or gained is None else (lost + gained) / scores.n,
        smallest_decidable=smallest_decidable_margin(change.n, change.variance, alpha=alpha) if change.enough else None,
        n_needed=needed,
        small_loss=verdict == "Retained" and interval is not None and interval.high < 0,
        relative=suite.relative,
        documents=suite.documents,
    )
