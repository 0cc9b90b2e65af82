"""The recommendation in words: what was decided, what would change it, what could not be told. Decides nothing.

`choose.recommend` decides and hands over a `Case`; every number in a sentence stands in the case or in its records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from keeptune.core.records import OPEN, ArmSummary, Interval, Matched, Recommendation, SuiteVerdict
from keeptune.core.units import human_count, over_seeds, points
from keeptune.recommend.costs import CostFlip
from keeptune.retention.intervals import seed_t_interval

Difference = Callable[[str, str], tuple[float, Interval]]
"""(arm a, arm b) -> mean and interval of score(a) - score(b) on the same test items."""


HARMLESS = "Forgetting was declared harmless, so it was not measured and does not count."


@dataclass(frozen=True)
class MarginFlip:
    """The common margin above which an arm that harmed a suite would count as retaining all of them."""

    arm: ArmSummary
    margin: float
    taken: bool  # the rule would then take it


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the rule found."""

    arms: Sequence[ArmSummary]  # those that ran
    not_run: Sequence[ArmSummary]
    difference: Difference
    indifference: float
    requests: int
    forgetting_matters: bool
    choice: ArmSummary | None = None
    provisional: bool = False
    runner_up: ArmSummary | None = None
    runner_up_costs: CostFlip | None = None
    prompting: ArmSummary | None = None  # the best prompting, where it is neither choice nor runner-up
    prompting_costs: CostFlip | None = None
    cheaper_than: ArmSummary | None = None  # scored best among the feasible on validation; the choice costs less
    cheaper_gap: tuple[float, Interval] | None = None  # score of the choice minus its, on validation
    rejected: ArmSummary | None = None  # chosen on validation, and Harmed on test
    keeps_out: ArmSummary | None = None  # scored best, and harmed a suite
    admitted: MarginFlip | None = None
    matched: Matched | None = None
    price: str = ""  # what more margin would buy, by a search


def take(case: Case, choice: ArmSummary) -> Recommendation:
    """The recommendation of an arm. Its paragraphs: the decision; what would flip it; what could not be told."""
    binding = _rejected(case) or _retention_binds(case) or _cost_decides(case)
    decision = [*_what_it_does(case, choice), binding]
    flips = [_runner_up(case, choice), *_flips(case, choice), case.price]
    untold = [_seeds(choice), _methods(case, choice), _untold(case, choice), _not_run(case)]
    return Recommendation(
        arm=choice.name,
        chosen=_chosen(case),
        headline=_headline(choice, case.provisional),
        paragraph=_paragraphs(decision, flips, untold),
        provisional=case.provisional,
        binding=binding,
        runner_up=case.runner_up.name if case.runner_up else None,
    )


def refuse(case: Case, headline: str, reason: str, best: ArmSummary | None = None) -> Recommendation:
    """No arm to take, and what stands in the way."""
    binding = _rejected(case) or _retention_binds(case)
    harmless = "" if case.forgetting_matters else HARMLESS
    return Recommendation(
        arm=None,
        chosen=_chosen(case),
        headline=headline,
        paragraph=_paragraphs([reason, harmless, binding], [_margin_flip(case), case.price], [_not_run(case)]),
        provisional=False,
        binding=binding,
        runner_up=best.name if best else None,
    )


def _chosen(case: Case) -> str | None:
    """Name of the arm that validation chose."""
    arm = case.rejected or case.choice
    return arm.name if arm else None


def _paragraphs(*groups: Sequence[str | None]) -> str:
    """The sentences as paragraphs: one for each group that has any."""
    return "\n".join(" ".join(filter(None, group)) for group in groups if any(group))


def spread(interval: Interval, signed: bool = True) -> str:
    """'95 % −0.4 to +5.8'."""
    return f"{100 * interval.level:g} % {points(interval.low, signed)} to {points(interval.high, signed)}"


def covers(arm: ArmSummary) -> str:
    """What an interval over items says nothing about: other trainings of the same arm."""
    return ", this checkpoint" if not arm.prompting else ""


def _headline(choice: ArmSummary, provisional: bool) -> str:
    verb = "Provisional: take" if provisional else "Take"
    gain = ""
    if choice.gain is not None and choice.gain_mean is not None and not choice.prompting:
        gain = (
            f": {points(choice.gain_mean, signed=True)} {choice.target.metric} points over the best prompting"
            f" ({spread(choice.gain)}{covers(choice)})"
        )
        seeds = choice.gain_seeds
        if seeds is not None:
            gain += (
                f"; over {len(choice.seed_scores)} seeds {points(seeds.mean, signed=True)} ({spread(seeds.interval)})"
            )
    return f"{verb} {choice.label}{gain}."


def _what_it_does(case: Case, choice: ArmSummary) -> Iterator[str]:
    score = choice.target
    interval = f"{spread(score.interval, False)}{covers(choice)}"
    yield f"It scores {points(score.mean)} {score.metric} on {score.n} test items ({interval})."
    if not case.forgetting_matters:
        yield HARMLESS
    elif choice.prompting:
        yield "Prompting changes no weight, so nothing can be forgotten."
    elif choice.suites:
        yield f"Retained suites: {_counts(choice.suites)}."
    else:
        yield "No retained suite was given, so what it forgot was not measured."
    if len(case.arms) == 1:
        yield "It is the only arm that ran, so there was nothing to choose between."
    if case.provisional:
        yield _settles(choice, case.runner_up)


def _counts(suites: Sequence[SuiteVerdict]) -> str:
    parts = []
    for verdict in ("Retained", "Worse", "Inconclusive", "Harmed", "Not measurable"):
        n = sum(s.verdict == verdict for s in suites)
        if n:
            parts.append(f"{n} {verdict}")
    return ", ".join(parts)


def _settles(choice: ArmSummary, otherwise: ArmSummary | None) -> str:
    """Which items would turn a provisional choice into a firm one."""
    parts = []
    open_suites = [s for s in choice.suites if s.verdict in OPEN]
    if open_suites:
        names = ", ".join(
            f"{s.suite} ({human_count(s.n_needed)} items)" if s.n_needed else s.suite for s in open_suites
        )
        parts.append(f"It rests on suites that are not settled; what would settle them: {names}.")
    if any(s.verdict == "Not measurable" for s in choice.suites):
        blind = ", ".join(s.suite for s in choice.suites if s.verdict == "Not measurable")
        parts.append(f"It rests on suites where a loss could not be seen: {blind}.")
    if open_suites and otherwise:
        parts.append(f"Should one turn out Harmed, take {otherwise.label}.")
    return " ".join(parts)


def _rejected(case: Case) -> str | None:
    """The arm that validation chose and the test refused."""
    arm = case.rejected
    if arm is None:
        return None
    what = "prompting is what is left" if case.choice else "no prompting was run"
    return (
        f"{arm.label} was chosen on validation items and harmed {_harmed(arm)} on test items; {what}, because a"
        " second arm would be chosen by its test scores."
    )


def _harmed(arm: ArmSummary) -> str:
    """'addition (−39.2), prose (−75.6 %)': the suites that were Harmed, with their changes."""
    return ", ".join(
        f"{s.suite} ({points(s.change, signed=True)}{' %' if s.relative else ''})"
        for s in arm.suites
        if s.verdict == "Harmed"
    )


def _retention_binds(case: Case) -> str | None:
    """The arm that retention kept out although it scored best."""
    arm = case.keeps_out
    if arm is None:
        return None
    lead = ""
    if case.choice is not None:
        mean, interval = case.difference(arm.name, case.choice.name)
        lead = f" scores {points(mean, signed=True)} points against this choice ({spread(interval)}) but"
    return f"What binds is retention: {arm.label}{lead} harmed {_harmed(arm)}."


def _cost_decides(case: Case) -> str | None:
    best = case.cheaper_than
    if best is None or case.cheaper_gap is None:
        return None
    mean, interval = case.cheaper_gap
    return (
        f"What decides is cost: {best.label} scored best on validation items, but this one is not inferior to it by"
        f" {points(case.indifference)} points ({points(mean, signed=True)}, {spread(interval)}) and costs less over"
        f" {human_count(case.requests)} requests."
    )


def _runner_up(case: Case, choice: ArmSummary) -> str:
    """Who comes next, and at how many requests it would be the cheaper one."""
    other = case.runner_up
    if other is None:
        return "" if len(case.arms) == 1 else "There is no runner-up: every other arm lost too much."
    mean, interval = case.difference(other.name, choice.name)
    shown = "" if interval.low > 0 or interval.high < 0 else ", not shown to differ"
    text = f"Runner-up: {other.label} ({points(mean, signed=True)} points, {spread(interval)}{shown})"
    flip = case.runner_up_costs
    if flip is None:
        return f"{text}."
    text += f"; in tokens it is {flip.words()}"
    if flip.taken:
        return f"{text} and would then be taken."
    if flip.high > flip.low and interval.low <= -case.indifference:
        return f"{text}, but it is not shown to score within {points(case.indifference)} points."
    return f"{text}."


def _flips(case: Case, choice: ArmSummary) -> Iterator[str | None]:
    if case.matched is not None:
        yield f"{case.matched.sentence}."
    if case.prompting is not None and case.prompting_costs is not None:
        yield f"In tokens the best prompting, {case.prompting.label}, is {case.prompting_costs.words()}."
    yield _margin_flip(case)
    if case.forgetting_matters and choice.suites:
        yield _own_margin(choice, case.provisional)


def _margin_flip(case: Case) -> str | None:
    """The smallest common margin at which a better-scoring arm would come in."""
    flip = case.admitted
    if flip is not None:
        margin = f"{points(_up(flip.margin))} {_unit(flip.arm.suites)}"
        then = " and then be taken" if flip.taken else ""
        return f"{flip.arm.label} would be admitted at a common margin above {margin}{then}."
    if case.keeps_out is not None:
        return f"No margin would admit {case.keeps_out.label}: a suite has too few clusters for a verdict."
    return None


def _own_margin(choice: ArmSummary, provisional: bool) -> str | None:
    """The common margin at which the choice itself would fall out, or would become a firm one."""
    margin, unit = admitting_margin(choice.suites), _unit(choice.suites)
    if margin is None or margin <= 0:
        return None
    if provisional:
        return f"At a common margin above {points(_up(margin))} {unit} {choice.label} would count as Retained."
    worst = min(measurable(choice.suites), key=lambda s: s.lower_bound or 0.0)
    at = f"{points(_down(margin))} {unit}"
    return f"{choice.label} itself would fall out at a common margin of {at} or less ({worst.suite})."


def measurable(suites: Sequence[SuiteVerdict]) -> list[SuiteVerdict]:
    """The suites on which a loss could be seen."""
    return [s for s in suites if s.verdict != "Not measurable"]


def admitting_margin(suites: Sequence[SuiteVerdict]) -> float | None:
    """The common margin above which every measurable suite would be Retained; None where no margin helps."""
    bounds = []
    for suite in measurable(suites):
        too_few_clusters = suite.verdict == "Inconclusive" and suite.smallest_decidable is None
        if suite.lower_bound is None or too_few_clusters:
            return None
        bounds.append(-suite.lower_bound)
    return max(bounds, default=None)


def _unit(suites: Sequence[SuiteVerdict]) -> str:
    kinds = {s.relative for s in measurable(suites)}
    if kinds == {True}:
        return "%"
    return "points (% for free text)" if True in kinds else "points"


def _up(fraction: float) -> float:
    """To the next tenth of a point, so that the printed margin does what is said of it."""
    return math.ceil(fraction * 1000 - 1e-6) / 1000


def _down(fraction: float) -> float:
    return math.floor(fraction * 1000 + 1e-6) / 1000


def _seeds(choice: ArmSummary) -> str:
    """Which training the verdicts are about, where there are several, and what the others scored."""
    if choice.prompting or len(choice.seed_scores) < 2:
        return ""
    return (
        f"Verdicts are about one checkpoint, that of seed {choice.seed or 0}; its target score is"
        f" {points(choice.target.mean)}, that of the arm {over_seeds(choice.seed_scores)}."
    )


def _methods(case: Case, choice: ArmSummary) -> str:
    """What the seeds say about one method against another: their own question, with seeds as its unit."""
    trained = [a for a in case.arms if not a.prompting]
    if choice.prompting:
        return ""
    if all(len(a.seed_scores) < 2 for a in trained):
        return "One seed was run: this judges these checkpoints and says nothing about one method against another."
    others = [a for a in trained if a.name != choice.name]
    if not others:
        return ""
    second = case.runner_up if case.runner_up in others else max(others, key=lambda a: a.target.mean)
    # The seeds stand in the recipe's order; a budget takes away the last ones first.
    gaps = [a - b for a, b in zip(choice.seed_scores, second.seed_scores, strict=False)]
    interval = seed_t_interval(gaps)
    if interval is None:
        few = f"{len(gaps)} seeds are" if len(gaps) != 1 else "One seed in common is"
        return f"{few} too few to say whether one method is better than another; 3 are the least."
    return (
        f"Over {len(gaps)} seeds {choice.label} scores {points(sum(gaps) / len(gaps), signed=True)} points against"
        f" {second.label} (95 % {points(interval[0], signed=True)} to {points(interval[1], signed=True)}, by seed)."
    )


def _untold(case: Case, choice: ArmSummary) -> str:
    parts = []
    if case.forgetting_matters:
        lost = [s.suite for s in choice.suites if s.verdict == "Not measurable"]
        if lost:
            parts.append(f"whether {', '.join(lost)} got worse (too little is there to be lost)")
        for arm in case.arms:
            open_suites = [s.suite for s in arm.suites if s.verdict in OPEN]
            harmed = any(s.verdict == "Harmed" for s in arm.suites)
            if open_suites and not harmed and arm is not choice:
                parts.append(f"whether {arm.label} keeps {', '.join(open_suites)}")
    if not any(a.prompting for a in (*case.arms, *case.not_run)):
        parts.append("whether prompting would do (no prompting arm was run)")
    return f"Could not be told: {'; '.join(parts)}." if parts else ""


def _not_run(case: Case) -> str:
    names = [f"{a.label} ({a.not_run})" for a in case.not_run]
    return f"Not run, so not judged: {', '.join(names)}." if names else ""
