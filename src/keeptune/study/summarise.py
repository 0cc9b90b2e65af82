"""From arms to the summary: scores with intervals, verdicts, costs, the recommendation. Pure records in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keeptune.core.records import (
    ArmSummary,
    DataCard,
    FrontierPoint,
    Interval,
    ItemRecord,
    Manifest,
    Recommendation,
    SampleOutput,
    Score,
    SuiteVerdict,
    Summary,
    TaskScore,
)
from keeptune.retention.pairs import Kind, Suite, pair
from keeptune.retention.scores import difference, score
from keeptune.retention.verdict import judge
from keeptune.study.arms import Arm
from keeptune.study.choose import break_even_requests, mark_pareto, recommend

SHOWN = 8  # test items whose answers stand side by side in the report
SHOWN_CHARACTERS = 2_000  # of each text


@dataclass(frozen=True)
class Measured:
    """Everything that a study measured."""

    metrics: Mapping[str, tuple[str, Kind]]  # target task -> metric and kind
    suites: Mapping[str, Suite]
    base_suites: Mapping[str, Sequence[ItemRecord]]  # test items of the base
    prompting: Sequence[Arm]
    best_prompting: str  # name of the one chosen on validation; "" without prompting arms
    tuned: Mapping[str, Sequence[Arm]]  # method -> one arm per seed, the chosen rate
    frontier: Sequence[FrontierPoint]
    chance: float | None  # of guessing on the target's test items
    warnings: Sequence[str] = ()
    cards: Sequence[DataCard] = ()


def summarise(
    measured: Measured,
    manifest: Manifest,
    *,
    title: str,
    wall_seconds: float,
    indifference: float,
    requests: int,
) -> Summary:
    """All that the report and the console say. `indifference` is a fraction."""
    shipped = [runs[0] for runs in measured.tuned.values()]
    everyone = {arm.name: arm for arm in (*measured.prompting, *shipped)}
    rows = mark_pareto([_row(measured, arm) for arm in everyone.values()])

    def gap(a: str, b: str) -> tuple[float, Interval]:
        return difference(everyone[a].pooled(), everyone[b].pooled())

    candidates = [row for row in rows if row.family != "prompt" or row.name == measured.best_prompting]
    recommendation = recommend(candidates, gap, indifference=indifference, requests=requests, chance=measured.chance)
    return Summary(
        title=title,
        model=manifest.model,
        target=" + ".join(measured.metrics),
        metric=_metric(measured),
        date=manifest.started[:10],
        wall_seconds=wall_seconds,
        seeds=manifest.seeds,
        arms=rows,
        recommendation=recommendation,
        frontier=tuple(measured.frontier),
        samples=_samples(measured, everyone),
        cards=tuple(measured.cards),
        warnings=tuple(measured.warnings),
        undecided=_undecided(rows, recommendation),
        manifest=manifest,
    )


def _metric(measured: Measured) -> str:
    names = {metric for metric, _ in measured.metrics.values()}
    return names.pop() if len(names) == 1 else "mean item score"


def _target_score(measured: Measured, arm: Arm) -> Score:
    kinds = {kind for _, kind in measured.metrics.values()}
    return score(arm.pooled(), _metric(measured), "binary" if kinds == {"binary"} else "mean")


def _row(measured: Measured, arm: Arm) -> ArmSummary:
    record = arm.record
    best = next((p for p in measured.prompting if p.name == measured.best_prompting), None)
    gain = difference(arm.pooled(), best.pooled()) if best is not None and best.name != arm.name else None
    costs = record.costs
    if best is not None and record.family != "prompt":
        costs = costs.model_copy(update={"break_even_requests": break_even_requests(costs, best.record.costs)})
    seeds = measured.tuned.get(record.family, ())
    return ArmSummary(
        name=arm.name,
        label=record.label,
        family=record.family,
        target=_target_score(measured, arm),
        gain=gain[1] if gain else None,
        gain_mean=gain[0] if gain else None,
        suites=_verdicts(measured, arm) if record.family != "prompt" else (),
        costs=costs,
        lr=record.lr,
        shots=record.shots,
        seed_scores=tuple(float(np.mean([item.score for item in one.pooled()])) for one in seeds),
        tasks=tuple(
            TaskScore(task=task, score=score(items, *measured.metrics[task])) for task, items in arm.target.items()
        )
        if len(arm.target) > 1
        else (),
        folder=f"arms/{arm.name}",
        note=_note(measured, arm),
    )


def _note(measured: Measured, arm: Arm) -> str | None:
    notes = [arm.record.note] if arm.record.note else []
    if arm.name == measured.best_prompting and len(measured.prompting) > 1:
        notes.append("best prompting on validation")
    return "; ".join(notes) or None


def _verdicts(measured: Measured, arm: Arm) -> tuple[SuiteVerdict, ...]:
    pairs = [(suite, pair(measured.base_suites[name], arm.suites[name])) for name, suite in measured.suites.items()]
    return judge(pairs) if pairs else ()


def _undecided(rows: Sequence[ArmSummary], recommendation: Recommendation) -> tuple[str, ...]:
    """What the numbers could not tell, the recommended arm's first."""
    ordered = sorted(rows, key=lambda row: row.name != recommendation.arm)
    sentences = [
        f"{row.label}: {suite.sentence}"
        for row in ordered
        for suite in row.suites
        if suite.verdict in ("Inconclusive", "Not measurable")
    ]
    tuned = [row for row in rows if row.family != "prompt"]
    if tuned and all(len(row.seed_scores) < 2 for row in tuned):
        sentences.append("One seed per arm: whether one method is better than another was not asked.")
    return tuple(sentences)


def _samples(measured: Measured, arms: Mapping[str, Arm]) -> tuple[SampleOutput, ...]:
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
            prompt=_cut(first[ident].prompt),
            references=tuple(map(_cut, first[ident].references)),
            outputs={name: _cut(table[ident].prediction) for name, table in tables.items()},
            scores={name: table[ident].score for name, table in tables.items()},
        )
        for ident in shown
    )


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} […]"
