"""The learning curve: the chosen rate of an arm on parts of the training rows, at equal steps, scored on test items."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from keeptune.study.arms import Curve, Tuned
from keeptune.study.bench import Bench
from keeptune.study.jobs import ScoreTest, Train
from keeptune.study.trials import Trial, artifact_of, read_arm, scored
from keeptune.study.workers import Runner


def learning_curves(bench: Bench, runner: Runner, tuned: Sequence[Tuned]) -> Mapping[str, Curve]:
    """Arm -> its curve. Smaller sets are parts of larger ones; the whole set is the arm itself (first seed)."""
    settings = bench.config.curve
    if settings is None:
        return {}
    whole = {each.spec.name: each for each in tuned if each.spec.name in settings.arms}
    trials = {name: _trials(each, settings.sizes) for name, each in whole.items()}
    left = [(trial, whole[name].spec) for name, each in trials.items() for trial in each if not scored(bench, trial)]
    runner.run([Train(trial, weights=True) for trial, _ in left])
    runner.run([ScoreTest(trial, spec) for trial, spec in left])
    curves = {}
    for name, each in trials.items():
        arms = [*(read_arm(bench, trial) for trial in each), whole[name].arms[0]]
        for trial in each:
            shutil.rmtree(artifact_of(bench, trial), ignore_errors=True)
        curves[name] = [(arm.record.examples or 0, arm) for arm in arms]
    return curves


def _trials(tuned: Tuned, sizes: Sequence[int]) -> list[Trial]:
    """One training per size below the whole set, at the chosen rate with the first seed."""
    record = tuned.arms[0].record
    smaller = sorted(size for size in sizes if size < (record.examples or 0))
    return [Trial(tuned.spec, record.lr or 0.0, record.seed or 0, size) for size in smaller]
