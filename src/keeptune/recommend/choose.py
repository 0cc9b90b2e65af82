"""Which rate, which arm: every choice of a study, as pure functions of its records.

Everything is chosen on validation items, under the retention constraint: rates, shots, the way between base and tuned
model, and the arm. The recommendation follows one rule, stated in `recommend`, and confirms one arm on test items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from keeptune.core.records import ArmSummary, Matched, Recommendation
from keeptune.core.units import points
from keeptune.recommend.advice import Case, Difference, MarginFlip, admitting_margin, refuse, spread, take
from keeptune.recommend.costs import CostFlip, cost_flip, lifetime_cost


def worst_change(arm: ArmSummary) -> float:
    """The largest measured loss over the arm's suites, as a change (<= 0 is a loss); 0 without suites."""
    changes = [s.change for s in arm.suites if s.verdict != "Not measurable"]
    return min(changes, default=0.0)


def mark_pareto(arms: Sequence[ArmSummary]) -> tuple[ArmSummary, ...]:
    """Set `pareto` where no other arm is at least as good on target and worst retained change, and better on one.

    An arm that was not run has no place on the frontier and pushes none off it.
    """
    ran = [arm for arm in arms if not arm.not_run]

    def dominated(arm: ArmSummary) -> bool:
        mine = (arm.target.mean, worst_change(arm))
        return any(
            theirs[0] >= mine[0] and theirs[1] >= mine[1] and theirs != mine
            for theirs in ((other.target.mean, worst_change(other)) for other in ran)
        )

    return tuple(arm.model_copy(update={"pareto": not arm.not_run and not dominated(arm)}) for arm in arms)


@dataclass(frozen=True)
class Validation:
    """What validation items say of the arms, by their names: all that the choice among them is made of."""

    scores: Mapping[str, float]  # mean target score
    tiers: Mapping[str, int]  # see `Rule.tier`; prompting keeps everything
    difference: Difference  # in target score, paired


@dataclass(frozen=True)
class Rule:
    """Chooses one of several arms by validation items. `recommend` describes the steps."""

    validation: Validation
    indifference: float
    requests: int
    forgetting_matters: bool = True
    admitted: frozenset[str] = field(default_factory=frozenset)  # arms whose losses are accepted

    def tier(self, arm: ArmSummary) -> int:
        """0 where every suite is kept with a standard error to spare, 1 where as it was seen, 2 otherwise."""
        if not self.forgetting_matters or arm.name in self.admitted:
            return 0
        return self.validation.tiers[arm.name]

    def score(self, arm: ArmSummary) -> float:
        """Target score on validation items."""
        return self.validation.scores[arm.name]

    def kept(self, arms: Sequence[ArmSummary]) -> ArmSummary | None:
        """The choice among the arms that kept every suite."""
        return self._cheapest_good([a for a in arms if self.tier(a) == 0])

    def choice(self, arms: Sequence[ArmSummary]) -> ArmSummary | None:
        """The choice among all arms: one that kept every suite, or one that may have and is better."""
        kept = self.kept(arms)
        others = [a for a in arms if self.tier(a) == 1 and (kept is None or self._better(a, kept))]
        return self._cheapest_good(others) or kept

    def _better(self, arm: ArmSummary, than: ArmSummary) -> bool:
        mean, interval = self.validation.difference(arm.name, than.name)
        return mean > self.indifference and interval.low > 0

    def _cheapest_good(self, arms: Sequence[ArmSummary]) -> ArmSummary | None:
        if not arms:
            return None
        best = max(arms, key=self.score)
        gap = self.validation.difference
        good = [a for a in arms if a is best or gap(a.name, best.name)[1].low > -self.indifference]
        return min(good, key=lambda a: (lifetime_cost(a, self.requests), -self.score(a)))


def standing(arm: ArmSummary, forgetting_matters: bool = True) -> Literal["retained", "undecided", "harmed"]:
    """What the test verdicts of an arm come to; an arm without suites retained all of them.

    A suite that was Worse, Inconclusive or Not measurable is not Retained.
    """
    verdicts = {s.verdict for s in arm.suites} if forgetting_matters else set()
    if "Harmed" in verdicts:
        return "harmed"
    return "undecided" if verdicts - {"Retained"} else "retained"


def recommend(
    arms: Sequence[ArmSummary],
    difference: Difference,
    validation: Validation,
    *,
    indifference: float,
    requests: int,
    chance: float | None = None,
    forgetting_matters: bool = True,
    matched: Sequence[Matched] = (),
    price: str = "",
) -> Recommendation:
    """One arm to take, what decided, what would flip it, and what could not be told.

    The choice is made on validation items, and the arm that was chosen is confirmed on test items, once: its figures
    and verdicts there were no part of the choice. Those of the other arms are shown and choose nothing.

    1. Of the arms that kept every suite (a standard error to spare; prompting changes no weight, so it always does) the
       cheapest over `requests` requests whose target score is non-inferior to the best of them by `indifference`.
    2. Arms that may have kept every suite displace that choice where their target score is higher by more than
       `indifference` and the interval of the difference excludes 0; of several the cheapest, as before.
    3. Confirmed on test: every suite Retained, a firm choice; a suite that is Worse, Inconclusive or Not measurable, a
       provisional one; a suite Harmed, and the arm is not taken: the best prompting is what is left.
    4. Nothing is recommended whose interval on the target does not lie above `chance` (0 where there is none), or
       whose score is above it by no more than `indifference`.
    5. An arm that was not run is named and never chosen.

    The runner-up is what the rule takes without the choice; of one that may have kept every suite, what surely did.

    Args:
        arms: the table; of the prompting arms only the best.
        difference: between two arms that ran, paired on the test items; for the words.
        validation: what the choice is made of.
        indifference: difference in target score that does not matter, a fraction.
        requests: predictions that the choice is made for.
        chance: target score of guessing.
        forgetting_matters: False where it was declared harmless: suites then decide nothing.
        matched: comparisons at equal target score; the one of choice and runner-up is quoted.
        price: a sentence of a search on what more margin would buy; it is quoted.

    Example:
        >>> from keeptune.core.records import ArmSummary, Interval, Score
        >>> score = Score(metric="accuracy", mean=0.83, interval=Interval(low=0.8, high=0.86), n=500, clusters=500)
        >>> arms = [ArmSummary(name=name, label=name, family=name, target=score) for name in ("prompt", "lora")]
        >>> def difference(a, b):  # LoRA scores 10 points more on validation items
        ...     gap = 0.1 * ((a == "lora") - (b == "lora"))
        ...     return gap, Interval(low=gap - 0.03, high=gap + 0.03)
        >>> validation = Validation({"prompt": 0.72, "lora": 0.82}, {"prompt": 0, "lora": 0}, difference)
        >>> recommend(arms, difference, validation, indifference=0.01, requests=10_000).arm
        'lora'
    """
    gap = cache(validation.difference)  # the rule asks again under other costs and margins
    rule = Rule(replace(validation, difference=gap), indifference, requests, forgetting_matters)
    case = replace(_case(rule, arms, difference), price=price)
    if (choice := case.choice) is None:
        return refuse(case, f"No arm is feasible: {_why_none(case)}.", "")
    floor = chance or 0.0
    if choice.target.interval.low <= floor or choice.target.mean <= floor + indifference:
        return _beaten_by_guessing(case, choice, floor)
    return take(_completed(case, rule, choice, matched), choice)


def _why_none(case: Case) -> str:
    if not case.arms:
        return "none was run"
    rejected = case.rejected
    return f"{rejected.label} was chosen and harmed a retained suite" if rejected else "every one lost too much"


def _case(rule: Rule, arms: Sequence[ArmSummary], difference: Difference) -> Case:
    """What the rule takes and the test confirms of it, or the best prompting where a suite was harmed."""
    ran = [a for a in arms if not a.not_run]
    chosen = rule.choice(ran)
    rejected = chosen if chosen is not None and standing(chosen, rule.forgetting_matters) == "harmed" else None
    choice = next((a for a in ran if a.prompting), None) if rejected else chosen
    keeps_out, admitted = _kept_out(rule, ran, choice)
    return Case(
        arms=ran,
        not_run=[a for a in arms if a.not_run],
        difference=difference,
        indifference=rule.indifference,
        requests=rule.requests,
        forgetting_matters=rule.forgetting_matters,
        choice=choice,
        rejected=rejected,
        provisional=choice is not None and standing(choice, rule.forgetting_matters) == "undecided",
        keeps_out=keeps_out,
        admitted=admitted,
    )


def _kept_out(
    rule: Rule, arms: Sequence[ArmSummary], choice: ArmSummary | None
) -> tuple[ArmSummary | None, MarginFlip | None]:
    """The best of the arms that scored better and harmed a suite, and the smallest margin that would admit one."""
    harmed = [a for a in arms if standing(a, rule.forgetting_matters) == "harmed"]
    better = [a for a in harmed if choice is None or a.target.mean > choice.target.mean]
    margins = [(margin, a) for a in better if (margin := admitting_margin(a.suites)) is not None]
    admitted = None
    if margins:
        margin, arm = min(margins, key=lambda pair: (pair[0], -pair[1].target.mean))
        others = {a.name for a in arms if (own := admitting_margin(a.suites)) is not None and own <= margin}
        taken = replace(rule, admitted=frozenset({arm.name, *others})).choice(arms)
        admitted = MarginFlip(arm, margin, taken is arm)
    return max(better, key=lambda a: a.target.mean, default=None), admitted


def _beaten_by_guessing(case: Case, choice: ArmSummary, floor: float) -> Recommendation:
    kept = " that keeps the retained suites" if case.forgetting_matters and any(a.suites for a in case.arms) else ""
    reason = (
        f"The best{kept}, {choice.label}, scores {points(choice.target.mean)} {choice.target.metric}"
        f" ({spread(choice.target.interval, False)}); guessing scores {points(floor)}."
    )
    return refuse(case, f"Take none of these: no arm{kept} is shown to beat guessing.", reason, choice)


def _completed(case: Case, rule: Rule, choice: ArmSummary, matched: Sequence[Matched]) -> Case:
    """The case of a choice, with its runner-up and all that would flip it."""
    left = [a for a in case.arms if a is not case.rejected]
    others = [a for a in left if a is not choice]
    runner_up = (rule.kept(others) if rule.tier(choice) else None) or rule.choice(others)
    feasible = [a for a in left if rule.tier(a) == rule.tier(choice)]
    best = max(feasible, key=rule.score)
    prompting = next((a for a in others if a.prompting and a is not runner_up), None)
    dearer = best if rule.score(best) > rule.score(choice) else None
    return replace(
        case,
        runner_up=runner_up,
        runner_up_costs=_cost_flip(rule, left, choice, runner_up),
        prompting=prompting,
        prompting_costs=_cost_flip(rule, left, choice, prompting),
        cheaper_than=dearer,
        cheaper_gap=rule.validation.difference(choice.name, dearer.name) if dearer else None,
        matched=_between(matched, choice, runner_up),
    )


def _cost_flip(rule: Rule, arms: Sequence[ArmSummary], choice: ArmSummary, other: ArmSummary | None) -> CostFlip | None:
    """Where `other` is cheaper than the choice, and whether the rule then takes it; None where costs are unknown."""
    if other is None or other.costs.tokens_per_request is None or choice.costs.tokens_per_request is None:
        return None
    flip = cost_flip(other.costs, choice.costs)
    if flip.high <= flip.low:
        return flip
    inside = math.floor(flip.low) + 1 if math.isinf(flip.high) else max(math.ceil(flip.high) - 1, 0)
    return replace(flip, taken=replace(rule, requests=inside).choice(arms) is other)


def _between(matched: Sequence[Matched], choice: ArmSummary, other: ArmSummary | None) -> Matched | None:
    """The comparison of two arms at equal target score; of several levels the highest."""
    if other is None:
        return None
    pair = {choice.arm or choice.family, other.arm or other.family}
    return max((m for m in matched if set(m.arms) == pair), key=lambda m: m.level or 0.0, default=None)
