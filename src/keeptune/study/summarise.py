"""From arms to the summary: scores with intervals, verdicts, costs, the recommendation. Pure records in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from keeptune.core.records import (
    UNSETTLED,
    ArmPlan,
    ArmSummary,
    Costs,
    CurvePoint,
    DataCard,
    FrontierPoint,
    HeldOut,
    Interval,
    ItemRecord,
    LearningCurve,
    Manifest,
    Matched,
    Recommendation,
    RehearsalCard,
    SampleOutput,
    Score,
    SearchSummary,
    SequenceSummary,
    Summary,
    TaskScore,
    WordingGap,
)
from keeptune.core.units import cut, human_bytes
from keeptune.recommend.choose import mark_pareto, recommend
from keeptune.recommend.costs import with_break_even
from keeptune.recommend.price import offers
from keeptune.recommend.trouble import Training, likely_cause
from keeptune.retention.arm import Judged, judge_arm
from keeptune.retention.curve import enough
from keeptune.retention.matched import matched
from keeptune.retention.pairs import Kind, Suite
from keeptune.retention.scores import difference, over_seeds, score
from keeptune.study.records import Curve, ExtraEvaluation, ScoredArm, Tuned
from keeptune.study.validation import ValidationResults

SHOWN = 8  # test items whose answers stand side by side in the report
SHOWN_CHARACTERS = 2_000  # of each text
NAMED = 5  # targets; more are counted
BASIC = "full"  # the method that the others are compared with


@dataclass(frozen=True)
class Measured:
    """Everything that a study measured."""

    metrics: Mapping[str, tuple[str, Kind]]  # target task -> metric and kind
    suites: Mapping[str, Suite]
    base_suites: Mapping[str, Sequence[ItemRecord]]  # test items of the base
    prompting: Sequence[ScoredArm]
    best_prompting: str  # name of the one chosen on validation; "" without prompting arms
    tuned: Sequence[Tuned]  # the arms that trained
    frontier: Sequence[FrontierPoint]
    validation: ValidationResults  # validation items: what everything is chosen by
    base_validation: Mapping[str, Sequence[ItemRecord]]  # of every retained suite: what can be measured
    chance: float | None  # of guessing on the target's test items
    base_extras: Mapping[str, Sequence[ItemRecord]] = field(default_factory=dict)
    extras: Sequence[ExtraEvaluation] = ()
    search: SearchSummary | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    sequences: Sequence[SequenceSummary] = ()
    plans: Sequence[ArmPlan] = ()
    warnings: Sequence[str] = ()
    cards: Sequence[DataCard] = ()
    rehearsal: Sequence[RehearsalCard] = ()
    cached_token_price: float = 1.0
    trainings: Mapping[str, Training] = field(default_factory=dict)  # of the arms, by name

    @property
    def best(self) -> ScoredArm | None:
        """The best prompting; None without prompting arms."""
        return next((arm for arm in self.prompting if arm.name == self.best_prompting), None)


def summarise(
    measured: Measured,
    manifest: Manifest,
    *,
    title: str,
    wall_seconds: float,
    indifference: float,
    requests: int,
    harmless: bool = False,
) -> Summary:
    """All that the report and the console say. `indifference` is a fraction; `harmless`: forgetting is accepted."""
    everyone = {arm.name: arm for arm in (*measured.prompting, *(each.seeds[0] for each in measured.tuned))}
    compared = _matched(measured)
    rows = mark_pareto([_row(measured, arm) for arm in everyone.values()])

    def gap(a: str, b: str) -> tuple[float, Interval]:
        return difference(everyone[a].pooled(), everyone[b].pooled())

    left_out = [(plan, why) for plan in measured.plans if (why := _why_not_run(plan))]
    rows = (*rows, *(_not_run(measured, plan, why) for plan, why in left_out))
    candidates = [row for row in rows if not row.prompting or row.name == measured.best_prompting]
    recommendation = recommend(
        candidates,
        gap,
        measured.validation.for_choice(),
        indifference=indifference,
        requests=requests,
        chance=measured.chance,
        forgetting_matters=not harmless,
        matched=compared,
        price=next(iter(offers(measured.search)), "") if measured.search else "",
    )
    return Summary(
        title=title,
        model=manifest.model,
        target=_target_name([*measured.metrics]),
        metric=_metric(measured),
        date=manifest.started[:10],
        wall_seconds=wall_seconds,
        seeds=manifest.seeds,
        arms=rows,
        recommendation=recommendation,
        frontier=tuple(measured.frontier),
        curves=tuple(_curve(measured, name, curve, indifference) for name, curve in measured.curves.items()),
        wordings=_wordings(measured),
        held_out=_held_out(measured),
        sequences=tuple(measured.sequences),
        search=measured.search,
        plans=tuple(measured.plans),
        matched=compared,
        samples=_samples(everyone),
        cards=tuple(measured.cards),
        rehearsal=tuple(measured.rehearsal),
        warnings=tuple(measured.warnings),
        undecided=_undecided(rows, recommendation),
        manifest=manifest,
    )


def _target_name(tasks: Sequence[str]) -> str:
    """All names where they are few: a mixture may have a hundred tasks."""
    return " + ".join(tasks) if len(tasks) <= NAMED else f"{len(tasks)} tasks"


def _metric(measured: Measured) -> str:
    names = {metric for metric, _ in measured.metrics.values()}
    return names.pop() if len(names) == 1 else "mean item score"


def _target_score(measured: Measured, arm: ScoredArm) -> Score:
    kinds = {kind for _, kind in measured.metrics.values()}
    return score(arm.pooled(), _metric(measured), "binary" if kinds == {"binary"} else "mean")


def _row(measured: Measured, arm: ScoredArm) -> ArmSummary:
    record, best = arm.record, measured.best
    gain = difference(arm.pooled(), best.pooled()) if best is not None and best.name != arm.name else None
    tuned = next((each for each in measured.tuned if each.seeds[0].name == arm.name), None)
    seeds = [one.pooled() for one in tuned.seeds] if tuned else []
    kept = _judged(measured, arm) if not record.prompting else Judged()
    training = measured.trainings.get(arm.name)
    costs = _costs(measured, arm, tuned)
    stuck = training is not None and training.steps and gain is not None and gain[1].low <= 0
    return ArmSummary(
        name=arm.name,
        label=record.label,
        family=record.family,
        arm=record.arm,
        parts=record.parts,
        alpha=record.alpha,
        drift=record.drift,
        target=_target_score(measured, arm),
        gain=gain[1] if gain else None,
        gain_mean=gain[0] if gain else None,
        suites=kept.suites,
        overall=kept.overall,
        losses=kept.losses,
        costs=costs,
        lr=record.lr,
        shots=record.shots,
        seed=record.seed,
        seed_scores=tuple(float(np.mean([item.score for item in one])) for one in seeds),
        target_seeds=over_seeds(seeds),
        gain_seeds=over_seeds(seeds, best.pooled()) if best is not None else None,
        tasks=tuple(
            TaskScore(task=task, score=score(items, *measured.metrics[task])) for task, items in arm.target.items()
        )
        if len(arm.target) > 1
        else (),
        folder=f"arms/{arm.name}",
        note=_note(measured, arm),
        spikes=tuple(training.spikes) if training else (),
        hardest=tuple(training.hardest) if training else (),
        cause=likely_cause(training, measured.cards, costs) if training and stuck else None,
    )


def _costs(measured: Measured, arm: ScoredArm, tuned: Tuned | None) -> Costs:
    """The arm's costs, with all that it took to choose it, and where it pays off against the best prompting."""
    price = {"cached_token_price": measured.cached_token_price}
    costs = arm.record.costs.model_copy(update=price)
    if tuned is None:
        return costs
    update = {"sweep_tokens": tuned.sweep_tokens, "base_forwards": tuned.arm.base_forwards}
    costs = costs.model_copy(update=update)
    best = measured.best
    return costs if best is None else with_break_even(costs, best.record.costs.model_copy(update=price))


def _why_not_run(plan: ArmPlan) -> str | None:
    """Why an arm was left out; None where it was run."""
    if not plan.fits:
        return f"needs {human_bytes(plan.memory_bytes or 0)}"
    if plan.arm in plan.late:
        return "jobs took longer than planned, and the budget has no time for it"
    return "the budget has no time for it" if plan.arm in plan.dropped else None


def _not_run(measured: Measured, plan: ArmPlan, why: str) -> ArmSummary:
    """An arm that stands in the table without a number."""
    nothing = Score(metric=_metric(measured), mean=0.0, interval=Interval(low=0.0, high=0.0), n=0, clusters=0)
    return ArmSummary(
        name=plan.arm,
        label=plan.arm,
        family=plan.method,
        arm=plan.arm,
        target=nothing,
        not_run=why,
    )


def _note(measured: Measured, arm: ScoredArm) -> str | None:
    notes = [arm.record.note] if arm.record.note else []
    if measured.search is not None and arm.name == measured.search.found:
        notes.append("found by search")
    if arm.name == measured.best_prompting and len(measured.prompting) > 1:
        notes.append("best prompting on validation")
    return "; ".join(notes) or None


def _judged(measured: Measured, arm: ScoredArm) -> Judged:
    suites = [(suite, measured.base_suites[name], arm.suites[name]) for name, suite in measured.suites.items()]
    return judge_arm(suites, measured.base_validation)


def _undecided(rows: Sequence[ArmSummary], recommendation: Recommendation) -> tuple[str, ...]:
    """What the numbers could not tell, the recommended arm's first."""
    ordered = sorted(rows, key=lambda row: row.name != recommendation.arm)
    sentences = [
        f"{row.label}: {suite.sentence}" for row in ordered for suite in row.suites if suite.verdict in UNSETTLED
    ]
    tuned = [row for row in rows if not row.prompting]
    if tuned and all(len(row.seed_scores) < 2 for row in tuned):
        sentences.append("One seed per arm: whether one method is better than another was not asked.")
    return tuple(sentences)


def _curve(measured: Measured, name: str, curve: Curve, indifference: float) -> LearningCurve:
    """Score by number of examples, and whether fewer would have done."""
    items = {examples: arm.pooled() for examples, arm in curve}
    scores = {examples: [item.score for item in found] for examples, found in items.items()}
    answer = enough(scores, indifference, [item.cluster for item in curve[0][1].pooled()])
    best = measured.best
    return LearningCurve(
        arm=name,
        label=curve[-1][1].record.label,
        points=tuple(CurvePoint(examples=n, score=_target_score(measured, arm)) for n, arm in curve),
        prompting=_target_score(measured, best) if best is not None else None,
        enough=answer.size,
        sentence=answer.sentence,
    )


def _matched(measured: Measured) -> tuple[Matched, ...]:
    """Arms at equal target score, on validation items: remedies against their plain method, methods against full.

    A seed that diverged counts.
    """
    titles = {each.arm.name: each.seeds[0].record.title for each in measured.tuned}
    frontiers = {name: measured.validation.frontier(name) for name in titles}
    plain = [each.arm.name for each in measured.tuned if each.arm.plain]
    pairs = [(method, BASIC) for method in plain if method != BASIC]
    pairs += [(each.arm.name, each.arm.method.name) for each in measured.tuned if not each.arm.plain]
    codes = measured.validation.codes()
    return tuple(
        matched(frontiers[a], frontiers[b], codes, arms=(a, b), labels=(titles[a], titles[b]))
        for a, b in pairs
        if frontiers.get(a) and frontiers.get(b)
    )


def _wordings(measured: Measured) -> tuple[WordingGap, ...]:
    """Seen against unseen wordings, for the base and every arm that trained."""
    found = []
    for task in dict.fromkeys(extra.task for extra in measured.extras if extra.wording == "unseen"):
        names = (f"{task}@each", f"{task}@unseen")
        both: list[tuple[str, str, Mapping[str, Sequence[ItemRecord]]]] = [
            ("base", "base, zero-shot", measured.base_extras)
        ]
        both += [(each.arm.name, each.seeds[0].record.label, each.seeds[0].extras) for each in measured.tuned]
        for arm, label, extras in both:
            both_kinds = set.intersection(
                *({item.id for item in extras[name]} for name in names)
            )  # that fit the window
            seen, unseen = ([item for item in extras[name] if item.id in both_kinds] for name in names)
            gap, interval = difference(seen, unseen)
            metric = measured.metrics[task][0]
            found.append(
                WordingGap(
                    arm=arm,
                    label=label,
                    seen=score(seen, metric, "mean"),
                    unseen=score(unseen, metric, "mean"),
                    gap=gap,
                    interval=interval,
                )
            )
    return tuple(found)


def _held_out(measured: Measured) -> tuple[HeldOut, ...]:
    """Tasks that nothing was trained on, before and after."""
    found = []
    for extra in measured.extras:
        if extra.wording != "fixed":
            continue
        before = measured.base_extras[extra.name]
        for tuned in measured.tuned:
            after = tuned.seeds[0].extras[extra.name]
            change, interval = difference(after, before)
            found.append(
                HeldOut(
                    arm=tuned.arm.name,
                    label=tuned.seeds[0].record.label,
                    task=extra.task,
                    before=score(before, "", "mean"),
                    after=score(after, "", "mean"),
                    change=change,
                    interval=interval,
                )
            )
    return tuple(found)


def _samples(arms: Mapping[str, ScoredArm]) -> tuple[SampleOutput, ...]:
    """Test items of the first task, drawn by their ids, which are hashes: nobody picked them."""
    tables = {
        name: {item.id: item for item in next(iter(arm.target.values()))} for name, arm in arms.items() if arm.target
    }
    if not tables:
        return ()
    first = next(iter(tables.values()))
    shown = sorted(ident for ident in first if all(ident in table for table in tables.values()))[:SHOWN]
    return tuple(
        SampleOutput(
            id=ident,
            prompt=cut(first[ident].prompt, SHOWN_CHARACTERS),
            references=tuple(cut(text, SHOWN_CHARACTERS) for text in first[ident].references),
            outputs={name: cut(table[ident].prediction, SHOWN_CHARACTERS) for name, table in tables.items()},
            scores={name: table[ident].score for name, table in tables.items()},
        )
        for ident in shown
    )
