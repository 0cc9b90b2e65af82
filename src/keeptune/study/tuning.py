"""The fine-tuning arms: one trial per rate on validation items, the picked rate on test items.

A trial trains and is scored on validation parts (target, and retained suites for the frontier). The rate is chosen
on the target's validation score; further seeds train the chosen rate only; an interpolated arm is chosen among points
between the base and that model. Only what was chosen sees the test parts, and only its weights are kept. What can be
done at the same time is given to the runner at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keeptune.core.records import FrontierPoint
from keeptune.study.arms import Checkpoint, Look, TrialRecord, Tuned
from keeptune.study.bench import Bench
from keeptune.study.choose import Candidate, pick_alpha, pick_kept
from keeptune.study.jobs import Job, ScoreTest, Sweep, Train
from keeptune.study.looks import BaseSuite, Looks
from keeptune.study.spec import ArmSpec
from keeptune.study.trials import (
    Trial,
    arm_folder,
    artifact_of,
    read_arm,
    read_sweep,
    read_trial,
)
from keeptune.study.workers import Runner

Floats = NDArray[np.float64]


def first_trials(bench: Bench) -> list[Trial]:
    """Every rate of every arm that trains, with the first seed; what trains longest comes first."""
    specs = list(dict.fromkeys(spec.trained for spec in bench.config.specs))
    trials = [Trial(spec, lr, bench.config.seeds[0]) for spec in specs for lr in bench.config.rates(spec.method)]
    return sorted(trials, key=lambda trial: -len(trial.spec.remedies))


def first_seed(bench: Bench, runner: Runner) -> dict[ArmSpec, Trial]:
    """The picked rate of everything that trains; what is not interpolated is scored on test items."""
    tried = first_trials(bench)
    runner.run([Train(trial) for trial in tried])
    trials = first_trials(bench)  # those that a budget left
    chosen = {trials_of[0].spec: pick_trial(bench, trials_of) for trials_of in _by_spec(trials)}
    runner.run([Train(trial, weights=True) for trial in chosen.values() if not artifact_of(bench, trial).is_dir()])
    specs = bench.config.specs
    follow: list[Job] = [Sweep(chosen[spec.trained]) for spec in specs if spec.interpolated]
    follow += [ScoreTest(chosen[spec], spec) for spec in specs if not spec.interpolated]
    runner.run(follow)
    for trial in tried:
        if trial not in chosen.values():
            shutil.rmtree(artifact_of(bench, trial), ignore_errors=True)
    return chosen


def further_trials(bench: Bench, chosen: Mapping[ArmSpec, Trial]) -> list[Trial]:
    """The picked rates with all seeds but the first."""
    return [Trial(spec, best.lr, seed) for seed in bench.config.seeds[1:] for spec, best in chosen.items()]


def tuned_arms(
    bench: Bench, runner: Runner, chosen: Mapping[ArmSpec, Trial]
) -> tuple[list[Tuned], list[FrontierPoint]]:
    """The arms of the recipe that train, and every model that was looked at as a point of the frontier.

    All is trained by now: the trials of `first_seed` and the `further_trials`.
    """
    config, later = bench.config, further_trials(bench, chosen)
    others = {spec: [trial for trial in later if trial.spec == spec] for spec in chosen}
    alphas = {spec: _alpha(bench, chosen[spec.trained]) for spec in config.specs if spec.interpolated}
    last: list[Job] = [ScoreTest(chosen[spec.trained], spec, alpha) for spec, alpha in alphas.items()]
    last += [ScoreTest(trial, spec, alphas.get(spec)) for spec in config.specs for trial in others[spec.trained]]
    last += [Sweep(trial) for spec in alphas for trial in others[spec.trained]]  # frontiers are compared within a seed
    runner.run(last)
    tuned = []
    for spec in config.specs:
        models = [chosen[spec.trained], *others[spec.trained]]
        arms = [read_arm(bench, trial, alphas.get(spec)) for trial in models]
        tuned.append(Tuned(spec, arms, _sweep_tokens(bench, spec.trained)))
    keep = {*chosen.values(), *later}
    trials = (*first_trials(bench), *later)
    points = [point for trial in trials for point in trial_points(bench, trial, picked=trial in keep)]
    for spec, alpha in alphas.items():
        for trial in (chosen[spec.trained], *others[spec.trained]):
            points += _sweep_points(bench, spec, trial, alpha)
    return tuned, points


def _sweep_tokens(bench: Bench, spec: ArmSpec) -> int:
    """Tokens of all trainings that it took to choose a rate."""
    tried = [trial for trial in first_trials(bench) if trial.spec == spec]
    return sum(read_trial(bench, trial).costs.train_tokens or 0 for trial in tried)


def base_point(bench: Bench) -> FrontierPoint:
    """The base itself on validation items: where every frontier starts."""
    return FrontierPoint(
        arm="base",
        lr=0.0,
        seed=bench.config.seeds[0],
        kind="checkpoint",
        step=0,
        target=float(np.mean(base_scores(bench))),
        validation_loss=None,
        picked=False,
        retained_change=0.0 if bench.kept else None,
        worst_change=0.0 if bench.kept else None,
    )


def base_scores(bench: Bench) -> Floats:
    """The base's score on every validation item of the targets, in the order of a look."""
    runs = [bench.evaluate(task.name, "validation") for task in bench.targets]
    return np.array([item.score for run in runs for item in run.items])


def changes_of(look: Look) -> dict[str, float | None]:
    """Mean and worst change in margins, as a `FrontierPoint` holds them; None without suites."""
    changes = [suite.change / suite.margin for suite in look.suites]
    return {
        "retained_change": float(np.mean(changes)) if changes else None,
        "worst_change": min(changes, default=None),
    }


def looks_of(bench: Bench, chosen: Mapping[ArmSpec, Trial], prompting: Mapping[str, Floats]) -> Looks:
    """What was seen on validation items, once all is trained; `prompting`: scores of the prompting arms by name."""
    later = further_trials(bench, chosen)
    arms = {name: Look(target=tuple(scores.tolist()), suites=()) for name, scores in prompting.items()}
    models: dict[str, dict[int, list[Look]]] = {}
    for spec in bench.config.specs:
        best = chosen[spec.trained]
        alpha = _alpha(bench, best) if spec.interpolated else None
        arms[arm_folder(bench, best, alpha).name] = _look(bench, best, alpha)
        for trial in (*first_trials(bench), *later):
            if trial.spec == spec.trained:
                seen = models.setdefault(spec.name, {}).setdefault(trial.seed, [])
                seen += _looks_on_the_way(bench, trial, swept=spec.interpolated and trial in (best, *later))
    runs = [bench.evaluate(task.name, "validation") for task in bench.targets]
    clusters = [f"{run.suite}/{item.cluster}" for run in runs for item in run.items]
    suites = [BaseSuite.of(skill, bench.base_validation[skill.suite.name].items) for skill in bench.kept]
    return Looks(np.array(clusters, dtype=object), suites, arms, models)


def _look(bench: Bench, trial: Trial, alpha: float | None) -> Look:
    """A trial's model, or the point ``alpha`` on the way to it."""
    if alpha is None:
        return read_trial(bench, trial).look
    return next(point.look for point in read_sweep(bench, trial).points if point.alpha == alpha)


def _looks_on_the_way(bench: Bench, trial: Trial, *, swept: bool) -> list[Look]:
    """A trial's model and its checkpoints; of an interpolated arm the points between base and model, too."""
    record = read_trial(bench, trial)
    points = read_sweep(bench, trial).points[:-1] if swept else ()
    return [*(each.look for each in record.checkpoints), record.look, *(point.look for point in points)]


def pick_trial(bench: Bench, trials: Sequence[Trial]) -> Trial:
    """The rate that `choose.pick_kept` takes on validation items."""
    best = pick_kept([candidate_of(read_trial(bench, trial)) for trial in trials], base_scores(bench))
    return next(trial for trial in trials if trial.name == best.name)


def candidate_of(record: TrialRecord) -> Candidate:
    """A trial as something to choose between."""
    look = record.look
    return Candidate(
        record.name,
        record.lr,
        np.array(look.target),
        np.array(record.row_losses),
        tier=look.tier,
        room=look.room,
        diverged=record.diverged,
    )


def _by_spec(trials: Sequence[Trial]) -> list[list[Trial]]:
    return [[t for t in trials if t.spec == spec] for spec in dict.fromkeys(t.spec for t in trials)]


def _alpha(bench: Bench, trial: Trial) -> float:
    """The chosen point between the base and a trial's model."""
    return pick_alpha(read_sweep(bench, trial).points, base_scores(bench))


def trial_points(bench: Bench, trial: Trial, *, picked: bool) -> list[FrontierPoint]:
    """A trial and its checkpoints on the frontier."""
    record = read_trial(bench, trial)
    return [*(_checkpoint_point(record, each) for each in record.checkpoints), _trial_point(record, picked)]


def _checkpoint_point(record: TrialRecord, checkpoint: Checkpoint) -> FrontierPoint:
    return FrontierPoint(
        arm=record.arm,
        lr=record.lr,
        seed=record.seed,
        kind="checkpoint",
        step=checkpoint.step,
        target=checkpoint.look.score,
        validation_loss=checkpoint.validation_loss,
        picked=False,
        gauge=checkpoint.gauge,
        **changes_of(checkpoint.look),
    )


def _trial_point(record: TrialRecord, picked: bool) -> FrontierPoint:
    return FrontierPoint(
        arm=record.arm,
        lr=record.lr,
        seed=record.seed,
        step=record.best_step,
        target=record.look.score,
        validation_loss=record.validation_loss,
        picked=picked,
        diverged=record.diverged,
        gauge=record.gauge,
        **changes_of(record.look),
    )


def _sweep_points(bench: Bench, spec: ArmSpec, trial: Trial, chosen: float) -> list[FrontierPoint]:
    return [
        FrontierPoint(
            arm=spec.name,
            lr=trial.lr,
            seed=trial.seed,
            kind="interpolation",
            alpha=point.alpha,
            target=point.look.score,
            validation_loss=None,
            picked=point.alpha == chosen,
            gauge=point.gauge,
            **changes_of(point.look),
        )
        for point in read_sweep(bench, trial).points
    ]
