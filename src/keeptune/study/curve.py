"""The learning curve: the chosen rate of an arm on parts of the training rows, at equal steps, scored on test items."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from keeptune.study.arms import Curve
from keeptune.study.bench import Bench
from keeptune.study.jobs import TrainAndTest
from keeptune.study.spec import ArmSpec
from keeptune.study.trials import Trial, artifact_of, read_arm, read_trial
from keeptune.study.workers import Runner


def learning_curves(bench: Bench, runner: Runner, chosen: Mapping[ArmSpec, Trial]) -> Mapping[str, Curve]:
    """Arm -> its curve. Smaller sets are parts of larger ones; the whole set is the chosen trial itself."""
    if bench.config.curve is None:
        return {}
    whole = {spec: trial for spec, trial in chosen.items() if spec.name in bench.config.curve.arms}
    tried = {spec: _trials(bench, trial, bench.config.curve.sizes) for spec, trial in whole.items()}
    runner.run([TrainAndTest(trial, spec) for spec, trials in tried.items() for trial in trials])
    sizes = bench.config.curve.sizes  # those that a budget left
    curves = {}
    for spec, trials in tried.items():
        arms = [read_arm(bench, trial) for trial in (*trials, whole[spec]) if trial.examples in (None, *sizes)]
        for trial in trials:
            shutil.rmtree(artifact_of(bench, trial), ignore_errors=True)
        curves[spec.name] = [(arm.record.examples or 0, arm) for arm in arms]
    return curves


def _trials(bench: Bench, whole: Trial, sizes: Sequence[int]) -> list[Trial]:
    """One training per size below the whole set, at the chosen rate with the first seed."""
    rows = read_trial(bench, whole).examples
    return [replace(whole, examples=size) for size in sorted(sizes) if size < rows]
