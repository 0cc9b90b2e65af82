"""The fine-tuning arms: one trial per rate on validation items, the picked rate on test items.

A trial trains and is scored on validation parts (target, and retained suites for the frontier). The rate is chosen
on the target's validation score; further seeds train the chosen rate only. Only the chosen checkpoints see the test
parts, and only their weights are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keeptune.core.errors import ConfigError
from keeptune.core.records import Costs, FrontierPoint, write_json
from keeptune.methods.base import Method
from keeptune.study.arms import Arm, ArmRecord, TrialRecord, finished_arm, finished_trial, save_arm
from keeptune.study.bench import Bench
from keeptune.study.choose import Candidate, pick
from keeptune.study.prompting import request_costs
from keeptune.train.budget import FILE, recall
from keeptune.train.loop import FitResult, fit
from keeptune.train.progress import Progress


def tuned_arms(bench: Bench, method: str) -> tuple[list[Arm], list[FrontierPoint]]:
    """The chosen rate's arm for every seed (the first seed first), and every rate as a point of the frontier."""
    config = bench.config
    recall(bench.folder.glob(f"arms/*/{FILE}"))  # a study that goes on splits its steps as it did before
    first, *others = config.seeds
    trials = [_trial(bench, method, lr, first) for lr in config.rates(method)]
    picked = pick([Candidate(t.name, t.lr, np.array(t.target_scores), t.diverged) for t in trials])
    chosen = next(t for t in trials if t.name == picked.name)
    arms = [_tested(bench, trial) for trial in (chosen, *(_trial(bench, method, chosen.lr, seed) for seed in others))]
    for trial in trials:
        if trial is not chosen:
            shutil.rmtree(_artifact(bench, trial), ignore_errors=True)
    return arms, [_point(trial, picked=trial is chosen) for trial in trials]


def _folder(bench: Bench, trial: TrialRecord) -> Path:
    return bench.folder / "arms" / trial.name


def _artifact(bench: Bench, trial: TrialRecord) -> Path:
    return _folder(bench, trial) / bench.config.build_method(trial.method).artifact


def _trial(bench: Bench, method: str, lr: float, seed: int) -> TrialRecord:
    name = f"{method}-lr{lr:g}-seed{seed}"
    folder = bench.folder / "arms" / name
    key = bench.key(method, bench.config.method_settings(method), lr, seed, bench.config.train.digest())
    done = finished_trial(folder, key)
    if done:
        bench.say(f"{name}: trained before, skipped")
        return done
    (folder / "trial.json").unlink(missing_ok=True)
    (folder / "arm.json").unlink(missing_ok=True)
    built = bench.config.build_method(method)
    train, validation = bench.training_rows(seed)
    base = {suite.name: bench.evaluate(suite.name, "validation") for suite in bench.suites}
    lm = bench.lm
    hooks = [Progress(bench.console, name)]
    result = fit(lm, built, train, validation, bench.config.train, folder, lr=lr, seed=seed, hooks=hooks)
    try:
        costs = _training_costs(built, bench, result)
        target = [bench.evaluate(task.name, "validation") for task in bench.targets]
        trial = TrialRecord(
            key=key,
            name=name,
            label=f"{built.describe()}, lr {lr:g}",
            method=method,
            lr=lr,
            seed=seed,
            target_scores=tuple(item.score for run in target for item in run.items),
            retained_changes=tuple(bench.retained_changes(base)),
            validation_loss=result.best_loss,
            diverged=result.diverged,
            best_step=result.best_step,
            steps=result.steps,
            costs=costs,
        )
    finally:
        lm.restore(built)
    write_json(folder / "trial.json", trial)
    bench.say(f"{name}: target {100 * np.mean(trial.target_scores):.1f} on validation")
    return trial


def _training_costs(method: Method, bench: Bench, result: FitResult) -> Costs:
    return Costs(
        trainable_parameters=sum(p.numel() for p in method.trainable(bench.lm.model).values()),
        total_parameters=bench.parameters,
        peak_memory_bytes=result.peak_memory_bytes,
        train_seconds=result.seconds,
        tokens_per_second=result.tokens_per_second,
        train_tokens=result.tokens,
        trained_tokens=result.trained_tokens,
    )


def _tested(bench: Bench, trial: TrialRecord) -> Arm:
    """The trial's checkpoint on the test parts of target and retained suites."""
    folder = _folder(bench, trial)
    tasks, suites = [task.name for task in bench.targets], [suite.name for suite in bench.suites]
    done = finished_arm(folder, trial.key, tasks, suites)
    if done:
        bench.say(f"{trial.name}: scored before, skipped")
        return done
    with loaded(bench, trial):
        target = {task: bench.evaluate(task, "test") for task in tasks}
        retained = {suite: bench.evaluate(suite, "test").items for suite in suites}
    costs = request_costs(list(target.values()), bench.parameters)
    artifact = _artifact(bench, trial)
    arm = Arm(
        ArmRecord(
            key=trial.key,
            name=trial.name,
            label=trial.label,
            family=trial.method,
            lr=trial.lr,
            seed=trial.seed,
            costs=trial.costs.model_copy(
                update={
                    "tokens_per_request": costs.tokens_per_request,
                    "window_share": costs.window_share,
                    "seconds_per_request": costs.seconds_per_request,
                    "bytes_on_disk": sum(file.stat().st_size for file in artifact.rglob("*") if file.is_file()),
                }
            ),
            note="diverged" if trial.diverged else None,
        ),
        folder,
        {task: run.items for task, run in target.items()},
        retained,
    )
    save_arm(arm)
    return arm


@contextmanager
def loaded(bench: Bench, trial: TrialRecord) -> Iterator[None]:
    """The bench's model holding the trial's checkpoint; the base again afterwards."""
    artifact = _artifact(bench, trial)
    if not artifact.is_dir():
        raise ConfigError(
            f"the weights of {trial.name} are gone",
            where=str(artifact),
            remedy=f"delete {_folder(bench, trial)} and run the study again",
        )
    method = bench.config.build_method(trial.method)
    bench.lm.adapt(method)
    try:
        method.load(bench.lm.model, artifact)
        yield
    finally:
        bench.lm.restore(method)


def _point(trial: TrialRecord, *, picked: bool) -> FrontierPoint:
    return FrontierPoint(
        arm=trial.method,
        lr=trial.lr,
        seed=trial.seed,
        target=float(np.mean(trial.target_scores)),
        retained_change=float(np.mean(trial.retained_changes)) if trial.retained_changes else None,
        worst_change=min(trial.retained_changes, default=None),
        validation_loss=trial.validation_loss,
        picked=picked,
        diverged=trial.diverged,
    )
