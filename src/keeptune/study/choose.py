"""Which rate, which arm: every choice of a study, as pure functions of its records.

Rates and prompts are chosen on validation items (SCIENCE: ties within one standard error go to the lower rate).
The recommendation follows one rule, stated in `recommend`; it reads the table that people see and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keeptune.core.records import ArmSummary, Costs, Interval, Recommendation, SuiteVerdict
from keeptune.core.units import human_count, points
from keeptune.retention.intervals import seed_t_interval
from keeptune.study.arms import SweepPoint

Difference = Callable[[str, str], tuple[float, Interval]]
"""(arm a, arm b) -> mean and interval of score(a) - score(b) on the same test items."""


@dataclass(frozen=True)
class Candidate:
    """One thing to choose between on validation: a rate, or a number of shots."""

    name: str
    cost: float  # what to prefer less of among ties: the rate, the number of shots
    scores: NDArray[np.float64]  # per-item validation scores, the same items in the same order for all
    diverged: bool = False


def pick(candidates: Sequence[Candidate]) -> Candidate:
    """The best mean score; whoever is within one standard error of it (paired, on the items) ties; lowest cost wins.

    Candidates that diverged are chosen only when all did.
    """
    alive = [c for c in candidates if not c.diverged] or list(candidates)
    best = max(alive, key=lambda c: float(c.scores.mean()))

    def tied(candidate: Candidate) -> bool:
        gap = best.scores - candidate.scores
        error = float(gap.std(ddof=1)) / math.sqrt(len(gap)) if len(gap) > 1 else 0.0
        return float(gap.mean()) <= error

    return min((c for c in alive if tied(c)), key=lambda c: c.cost)


def pick_alpha(points: Sequence[SweepPoint], margins: Sequence[float]) -> float:
    """How far to go from the base (0) to the tuned model (1), by validation items.

    Among the points that lost no more than the margin on every suite, as `pick` chooses (ties go towards the base).
    Where there is none, the point that lost least, in margins, among those with half of the largest target score.
    """

    def room(point: SweepPoint) -> float:
        return min((c / m for c, m in zip(point.retained_changes, margins, strict=True)), default=0.0)

    harmless = [point for point in points if room(point) >= -1]
    if harmless:
        best = pick([Candidate(f"{p.alpha:g}", p.alpha, np.array(p.target_scores)) for p in harmless])
        return float(best.name)
    top = max(float(np.mean(point.target_scores)) for point in points)
    good = [point for point in points if float(np.mean(point.target_scores)) >= top / 2]
    return max(good, key=room).alpha


def worst_change(arm: ArmSummary) -> float:
    """The largest measured loss over the arm's suites, as a change (<= 0 is a loss); 0 without suites."""
    changes = [s.change for s in arm.suites if s.verdict != "Not measurable"]
    return min(changes, default=0.0)


def mark_pareto(arms: Sequence[ArmSummary]) -> tuple[ArmSummary, ...]:
    """Set `pareto` where no other arm is at least as good on target and worst retained change, and better on one."""

    def dominated(arm: ArmSummary) -> bool:
        mine = (arm.target.mean, worst_change(arm))
        return any(
            theirs[0] >= mine[0] and theirs[1] >= mine[1] and theirs != mine
            for theirs in ((other.target.mean, worst_change(other)) for other in arms)
        )

    return tuple(arm.model_copy(update={"pareto": not dominated(arm)}) for arm in arms)


def break_even_requests(tuned: Costs, prompting: Costs) -> int | None:
    """Requests after which training has cost less than prompting, in forward-token equivalents.

    None where the tuned model's prompt is not shorter: no number of requests then pays the training back in tokens.
    """
    saved = (prompting.tokens_per_request or 0.0) - (tuned.tokens_per_request or 0.0)
    return math.ceil(training_cost(tuned) / saved) if saved > 0 else None


def training_cost(costs: Costs) -> float:
    """Forward-token equivalents of a training run.

    A forward pass costs 1 per token and the gradient of the activations 1 more; the gradient of the weights costs
    the share that trains (6N, 4N + small: SCIENCE section 6).
    """
    share = costs.trainable_parameters / costs.total_parameters if costs.total_parameters else 0.0
    return (costs.train_tokens or 0) * (2.0 + share)


def lifetime_cost(arm: ArmSummary, requests: int) -> float:
    """Forward-token equivalents of training the arm and serving `requests` requests."""
    return training_cost(arm.costs) + requests * (arm.costs.tokens_per_request or 0.0)


def _state(arm: ArmSummary) -> str:
    verdicts = {s.verdict for s in arm.suites}
    if "Harmed" in verdicts:
        return "harmed"
    return "undecided" if "Inconclusive" in verdicts else "retained"


def recommend(
    arms: Sequence[ArmSummary],
    difference: Difference,
    *,
    indifference: float,
    requests: int,
    chance: float | None = None,
) -> Recommendation:
    """One arm to take, what decided, and what would change it.

    1. Feasible: every retained suite is Retained (prompting changes no weight, so it always is). Among these take
       the cheapest over `requests` requests whose target score is non-inferior to the best feasible one by
       `indifference` (a fraction).
    2. An arm that harmed nothing but has Inconclusive suites displaces that choice, provisionally, when its target
       score is higher by more than `indifference` and the interval of the difference excludes 0.
    3. An arm with a Harmed suite is never recommended; it is named as the binding constraint when it scored best.
    4. Nothing is recommended whose interval on the target does not lie above `chance` (0 where there is none), or
       whose score is above it by no more than `indifference`.
    """
    feasible = [a for a in arms if _state(a) == "retained"]
    undecided = [a for a in arms if _state(a) == "undecided"]
    choice = _cheapest_good(feasible, difference, indifference, requests)
    runner_up: ArmSummary | None = None
    provisional = False
    for arm in sorted(undecided, key=lambda a: -a.target.mean):
        if choice is None or _beats(difference(arm.name, choice.name), indifference):
            choice, runner_up, provisional = arm, choice, True
            break
    if choice is None:
        return _nothing("No arm is feasible: every one harmed a retained suite.", "", arms, None, difference)
    floor = chance or 0.0
    if choice.target.interval.low <= floor or choice.target.mean <= floor + indifference:
        kept = " that keeps the retained suites" if any(a.suites for a in arms) else ""
        reason = (
            f"The best{kept}, {choice.label}, scores {points(choice.target.mean)} {choice.target.metric}"
            f" (95 % {points(choice.target.interval.low)} to {points(choice.target.interval.high)});"
            f" guessing scores {points(floor)}."
        )
        headline = f"Take none of these: no arm{kept} is shown to beat guessing."
        return _nothing(headline, reason, arms, choice, difference)
    if runner_up is None:
        others = [a for a in arms if a.name != choice.name and _state(a) != "harmed"]
        runner_up = max(others, key=lambda a: a.target.mean, default=None)
    binding = _binding(arms, choice, difference)
    return Recommendation(
        arm=choice.name,
        headline=_headline(choice, provisional),
        paragraph=" ".join(_sentences(choice, runner_up, arms, binding, difference, provisional)),
        provisional=provisional,
        binding=binding,
        runner_up=runner_up.name if runner_up else None,
    )


def _nothing(
    headline: str, reason: str, arms: Sequence[ArmSummary], best: ArmSummary | None, difference: Difference
) -> Recommendation:
    """No arm to take, and what stands in the way."""
    binding = _binding(arms, best, difference)
    return Recommendation(
        arm=None,
        headline=headline,
        paragraph=" ".join(part for part in (reason, binding) if part),
        provisional=False,
        binding=binding,
        runner_up=best.name if best else None,
    )


def _cheapest_good(
    feasible: Sequence[ArmSummary], difference: Difference, indifference: float, requests: int
) -> ArmSummary | None:
    if not feasible:
        return None
    best = max(feasible, key=lambda a: a.target.mean)
    good = [a for a in feasible if a is best or difference(a.name, best.name)[1].low > -indifference]
    return min(good, key=lambda a: (lifetime_cost(a, requests), -a.target.mean))


def _beats(gap: tuple[float, Interval], indifference: float) -> bool:
    return gap[0] > indifference and gap[1].low > 0


def _headline(choice: ArmSummary, provisional: bool) -> str:
    verb = "Provisional: take" if provisional else "Take"
    gain = ""
    if choice.gain is not None and choice.gain_mean is not None and choice.family != "prompt":
        gain = (
            f": {points(choice.gain_mean, signed=True)} {choice.target.metric} points over the best prompting"
            f" (95 % {points(choice.gain.low, signed=True)} to {points(choice.gain.high, signed=True)})"
        )
    return f"{verb} {choice.label}{gain}."


def _counts(suites: Sequence[SuiteVerdict]) -> str:
    parts = []
    for verdict in ("Retained", "Inconclusive", "Harmed", "Not measurable"):
        n = sum(s.verdict == verdict for s in suites)
        if n:
            parts.append(f"{n} {verdict}")
    return ", ".join(parts)


def _sentences(
    choice: ArmSummary,
    runner_up: ArmSummary | None,
    arms: Sequence[ArmSummary],
    binding: str | None,
    difference: Difference,
    provisional: bool,
) -> list[str]:
    score = choice.target
    low, high = score.interval.low, score.interval.high
    text = [
        f"It scores {points(score.mean)} {score.metric} on {score.n} test items (95 % {points(low)} to {points(high)})."
    ]
    if choice.family == "prompt":
        text.append("Prompting changes no weight, so nothing can be forgotten.")
    elif choice.suites:
        text.append(f"Retained suites: {_counts(choice.suites)}.")
    else:
        text.append("No retained suite was given, so what it forgot was not measured.")
    if provisional:
        open_suites = [s for s in choice.suites if s.verdict == "Inconclusive"]
        needs = [f"{s.suite} ({human_count(s.n_needed)} items)" for s in open_suites if s.n_needed]
        names = ", ".join(needs) if needs else ", ".join(s.suite for s in open_suites)
        text.append(f"It rests on suites that are Inconclusive; what would settle them: {names}.")
    if binding:
        text.append(binding)
    if runner_up is not None:
        text.append(_runner_up(choice, runner_up, difference))
    if choice.costs.break_even_requests is not None:
        text.append(
            f"In tokens, training pays off after {human_count(choice.costs.break_even_requests)} requests;"
            " below that the best prompting is cheaper."
        )
    if choice.family != "prompt":
        text.append(_methods(arms))
    return [sentence for sentence in text if sentence]


def _methods(arms: Sequence[ArmSummary]) -> str:
    """What the seeds say about one method against another: their own question, with seeds as its unit."""
    trained = [a for a in arms if a.family != "prompt"]
    if all(len(a.seed_scores) < 2 for a in trained):
        return "One seed was run: this judges these checkpoints and says nothing about one method against another."
    if len(trained) < 2:
        return ""
    first, second = trained[:2]
    gaps = [a - b for a, b in zip(first.seed_scores, second.seed_scores, strict=True)]
    interval = seed_t_interval(gaps)
    if interval is None:
        return f"{len(gaps)} seeds are too few to say whether one method is better than another; 3 are the least."
    return (
        f"Over {len(gaps)} seeds {first.label} scores {points(sum(gaps) / len(gaps), signed=True)} points against"
        f" {second.label} (95 % {points(interval[0], signed=True)} to {points(interval[1], signed=True)}, by seed)."
    )


def _runner_up(choice: ArmSummary, runner_up: ArmSummary, difference: Difference) -> str:
    mean, interval = difference(runner_up.name, choice.name)
    shown = "" if interval.low > 0 or interval.high < 0 else ", not shown to differ"
    return (
        f"Runner-up: {runner_up.label} ({points(mean, signed=True)} points, 95 % {points(interval.low, signed=True)}"
        f" to {points(interval.high, signed=True)}{shown})."
    )


def _binding(arms: Sequence[ArmSummary], choice: ArmSummary | None, difference: Difference) -> str | None:
    """The constraint that kept a better-scoring arm out, and the margin that would let it in."""
    better = [a for a in arms if _state(a) == "harmed" and (choice is None or a.target.mean > choice.target.mean)]
    if not better:
        return None
    arm = max(better, key=lambda a: a.target.mean)
    harmed = [s for s in arm.suites if s.verdict == "Harmed"]
    lost = ", ".join(f"{s.suite} ({points(s.change, signed=True)}{' %' if s.relative else ''})" for s in harmed)
    bounds = [
        -s.lower_bound for s in arm.suites if s.lower_bound is not None and s.verdict in ("Harmed", "Inconclusive")
    ]
    flip = f" It would be admitted at a margin of {points(max(bounds))} on every suite." if bounds else ""
    lead = ""
    if choice is not None:
        mean, interval = difference(arm.name, choice.name)
        lead = (
            f" scores {points(mean, signed=True)} points against this choice"
            f" (95 % {points(interval.low, signed=True)} to {points(interval.high, signed=True)}) but"
        )
    return f"What binds is retention: {arm.label}{lead} harmed {lost}.{flip}"
