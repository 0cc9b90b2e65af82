"""The fine-tuning arms: one training per rate on validation items, the picked rate on test items.

A training is scored on validation parts (target, and retained suites for the frontier). The rate is chosen on the
target's validation score under the retention constraint; further seeds train the chosen rate only; an interpolated arm
is chosen among points between the base and that model. Only what was chosen sees the test parts, and only its weights
are kept. What can be done at the same time is given to the runner at once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.pick import Candidate, pick_between, pick_kept
from keeptune.study.baseline import Baseline
from keeptune.study.jobs.base import Job
from keeptune.study.jobs.interpolate import Interpolate
from keeptune.study.jobs.test import ScoreTest
from keeptune.study.jobs.train import Train
from keeptune.study.ledger import Ledger
from keeptune.study.records import TrialRecord, Tuned
from keeptune.study.schedule.work import Work
from keeptune.study.trial import Trial

log = logging.getLogger(__name__)

Chosen = Mapping[Arm, Trial]  # the picked rate, with the first seed, of everything that trains


def first_trials(config: StudyConfig) -> list[Trial]:
    """Every rate of every arm that trains, with the first seed; what trains longest comes first."""
    arms = list(dict.fromkeys(arm.trained for arm in config.training_arms))
    trials = [Trial(arm, lr, config.seeds[0]) for arm in arms for lr in config.learning_rates(arm)]
    return sorted(trials, key=lambda trial: -len(trial.arm.remedies))


def further_trials(config: StudyConfig, chosen: Chosen) -> list[Trial]:
    """The picked rates with all seeds but the first."""
    return [Trial(arm, best.lr, seed) for seed in config.seeds[1:] for arm, best in chosen.items()]


def choose_rates(work: Work, ledger: Ledger, baseline: Baseline) -> Chosen:
    """The picked rate of everything that trains; what is not interpolated is scored on test items."""
    tried = first_trials(work.recipe)
    work.do([Train(trial) for trial in tried])
    by_arm: dict[Arm, list[Trial]] = {}
    for trial in first_trials(work.recipe):  # those that a budget left
        by_arm.setdefault(trial.arm, []).append(trial)
    chosen = {arm: pick_trial(ledger, baseline, trials) for arm, trials in by_arm.items()}
    work.do([Train(trial, weights=True) for trial in chosen.values() if not ledger.weights(trial).is_dir()])
    arms = work.recipe.training_arms
    follow: list[Job] = [Interpolate(chosen[arm.trained]) for arm in arms if arm.interpolated]
    follow += [ScoreTest(chosen[arm], arm) for arm in arms if not arm.interpolated]
    work.do(follow)
    drop_weights(ledger, [trial for trial in tried if trial not in chosen.values()])
    return chosen


def drop_weights(ledger: Ledger, trials: Sequence[Trial]) -> None:
    """Remove the weights of trainings that were not chosen; what was tested keeps them, whatever chose it."""
    for trial in trials:
        if ledger.scored(trial) is None:
            shutil.rmtree(ledger.weights(trial), ignore_errors=True)


def finish_arms(work: Work, ledger: Ledger, baseline: Baseline, chosen: Chosen) -> list[Tuned]:
    """The arms of the recipe that train, with all seeds, on test items; their `further_trials` are trained by now."""
    config, later = work.recipe, further_trials(work.recipe, chosen)
    others = {arm: [trial for trial in later if trial.arm == arm] for arm in chosen}
    alphas = {
        arm: chosen_alpha(ledger, baseline, chosen[arm.trained]) for arm in config.training_arms if arm.interpolated
    }
    last: list[Job] = [ScoreTest(chosen[arm.trained], arm, alpha) for arm, alpha in alphas.items()]
    last += [ScoreTest(trial, arm, alphas.get(arm)) for arm in config.training_arms for trial in others[arm.trained]]
    last += [Interpolate(trial) for arm in alphas for trial in others[arm.trained]]  # frontiers compare within a seed
    work.do(last)
    return [
        Tuned(
            arm,
            [ledger.arm(trial, alphas.get(arm)) for trial in (chosen[arm.trained], *others[arm.trained])],
            _sweep_tokens(config, ledger, arm.trained),
        )
        for arm in config.training_arms
    ]


def _sweep_tokens(config: StudyConfig, ledger: Ledger, arm: Arm) -> int:
    """Tokens of all trainings that it took to choose a rate."""
    tried = [trial for trial in first_trials(config) if trial.arm == arm]
    return sum(ledger.trial(trial).costs.train_tokens or 0 for trial in tried)


def pick_trial(ledger: Ledger, baseline: Baseline, trials: Sequence[Trial]) -> Trial:
    """The rate that `choose.pick_kept` takes on validation items."""
    best = pick_kept([candidate_of(ledger.trial(trial)) for trial in trials], baseline.target_scores)
    log.info("%s is taken, of %d that were trained", best.name, len(trials))
    return next(trial for trial in trials if trial.name == best.name)


def candidate_of(record: TrialRecord) -> Candidate:
    """A training as something to choose between."""
    seen = record.validation
    return Candidate(
        record.name,
        record.lr,
        np.array(seen.target),
        np.array(record.row_losses),
        tier=seen.tier,
        room=seen.room,
        diverged=record.diverged,
    )


def chosen_alpha(ledger: Ledger, baseline: Baseline, trial: Trial) -> float:
    """The chosen point between the base and a training's model."""
    points = [
        Candidate(
            f"{point.alpha:g}",
            point.alpha,
            np.array(point.validation.target),
            np.array(point.row_losses),
            tier=point.validation.tier,
            room=point.validation.room,
        )
        for point in ledger.sweep(trial).points
    ]
    return pick_between(points, baseline.target_scores).cost
