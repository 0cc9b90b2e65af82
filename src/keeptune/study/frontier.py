"""Every model that was scored on validation items: as points of the frontier, and as what choices are made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keeptune.core.records import FrontierPoint
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.study.baseline import Baseline, Floats
from keeptune.study.ledger import Ledger
from keeptune.study.records import Checkpoint, TrialRecord, ValidationScores
from keeptune.study.search import Found
from keeptune.study.trial import Trial
from keeptune.study.tuning import Chosen, chosen_alpha, first_trials, further_trials
from keeptune.study.validation import BaseSuite, ValidationResults


def frontier_points(config: StudyConfig, ledger: Ledger, baseline: Baseline, chosen: Chosen) -> list[FrontierPoint]:
    """The base, every rate with its checkpoints, points on the way to interpolated arms; empty where none trains."""
    later = further_trials(config, chosen)
    picked = {*chosen.values(), *later}
    points = [
        point
        for trial in (*first_trials(config), *later)
        for point in _trial_points(ledger.trial(trial), picked=trial in picked)
    ]
    for arm in (each for each in config.training_arms if each.interpolated):
        alpha = chosen_alpha(ledger, baseline, chosen[arm.trained])
        for trial in (chosen[arm.trained], *(t for t in later if t.arm == arm.trained)):
            points += _sweep_points(ledger, arm, trial, alpha)
    return [_base_point(config, baseline), *points] if points else []


def _base_point(config: StudyConfig, baseline: Baseline) -> FrontierPoint:
    """Where every frontier starts."""
    return FrontierPoint(
        arm="base",
        lr=0.0,
        seed=config.seeds[0],
        kind="checkpoint",
        step=0,
        target=float(np.mean(baseline.target_scores)),
        validation_loss=None,
        picked=False,
        retained_change=0.0 if baseline.skills else None,
        worst_change=0.0 if baseline.skills else None,
    )


def _changes(seen: ValidationScores) -> dict[str, float | None]:
    """Mean and worst change in margins, as a `FrontierPoint` holds them; None without suites."""
    changes = [suite.change / suite.margin for suite in seen.suites]
    return {
        "retained_change": float(np.mean(changes)) if changes else None,
        "worst_change": min(changes, default=None),
    }


def _trial_points(record: TrialRecord, *, picked: bool) -> list[FrontierPoint]:
    """A training and its checkpoints."""
    own = FrontierPoint(
        arm=record.arm,
        method=record.method,
        lr=record.lr,
        seed=record.seed,
        step=record.best_step,
        target=record.validation.score,
        validation_loss=record.validation_loss,
        picked=picked,
        diverged=record.diverged,
        drift=record.drift,
        **_changes(record.validation),
    )
    return [*(_checkpoint_point(record, each) for each in record.checkpoints), own]


def _checkpoint_point(record: TrialRecord, checkpoint: Checkpoint) -> FrontierPoint:
    return FrontierPoint(
        arm=record.arm,
        method=record.method,
        lr=record.lr,
        seed=record.seed,
        kind="checkpoint",
        step=checkpoint.step,
        target=checkpoint.validation.score,
        validation_loss=checkpoint.validation_loss,
        picked=False,
        drift=checkpoint.drift,
        **_changes(checkpoint.validation),
    )


def _sweep_points(ledger: Ledger, arm: Arm, trial: Trial, chosen: float) -> list[FrontierPoint]:
    return [
        FrontierPoint(
            arm=arm.name,
            method=arm.method.name,
            lr=trial.lr,
            seed=trial.seed,
            kind="interpolation",
            alpha=point.alpha,
            target=point.validation.score,
            validation_loss=None,
            picked=point.alpha == chosen,
            drift=point.drift,
            **_changes(point.validation),
        )
        for point in ledger.sweep(trial).points
    ]


def validation_results(
    config: StudyConfig,
    ledger: Ledger,
    baseline: Baseline,
    chosen: Chosen,
    prompting: Mapping[str, Floats],
    found: Found | None = None,
) -> ValidationResults:
    """What was seen on validation items, once all is trained.

    Args:
        prompting: scores of the prompting arms by name.
        found: by a search.
    """
    later = further_trials(config, chosen)
    arms = {name: ValidationScores(target=tuple(scores.tolist()), suites=()) for name, scores in prompting.items()}
    models: dict[str, dict[int, list[ValidationScores]]] = {}
    for arm in config.training_arms:
        best = chosen[arm.trained]
        alpha = chosen_alpha(ledger, baseline, best) if arm.interpolated else None
        arms[ledger.arm_folder(best, alpha).name] = _scores_of(ledger, best, alpha)
        for trial in (*first_trials(config), *later):
            if trial.arm == arm.trained:
                seen = models.setdefault(arm.name, {}).setdefault(trial.seed, [])
                seen += _scores_on_the_way(ledger, trial, swept=arm.interpolated and trial in (best, *later))
    if found is not None and found.model is not None:
        model = found.model
        arms[ledger.arm_folder(model.trial, model.alpha).name] = model.validation
    suites = [BaseSuite.of(skill, baseline.validation[skill.suite.name]) for skill in baseline.skills]
    return ValidationResults(np.array(baseline.target_clusters, dtype=object), suites, arms, models)


def _scores_of(ledger: Ledger, trial: Trial, alpha: float | None) -> ValidationScores:
    """A training's model, or the point ``alpha`` on the way to it."""
    if alpha is None:
        return ledger.trial(trial).validation
    return next(point.validation for point in ledger.sweep(trial).points if point.alpha == alpha)


def _scores_on_the_way(ledger: Ledger, trial: Trial, *, swept: bool) -> list[ValidationScores]:
    """A training's model and its checkpoints; of an interpolated arm the points between base and model, too."""
    record = ledger.trial(trial)
    points = ledger.sweep(trial).points[:-1] if swept else ()
    return [
        *(each.validation for each in record.checkpoints),
        record.validation,
        *(point.validation for point in points),
    ]
