"""The learning curve: the chosen rate of an arm on parts of the training rows, at equal steps, scored on test items."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from keeptune.study.jobs.test import TrainAndTest
from keeptune.study.ledger import Ledger
from keeptune.study.records import Curve
from keeptune.study.schedule.work import Work
from keeptune.study.trial import Trial
from keeptune.study.tuning import Chosen


def learning_curves(work: Work, ledger: Ledger, chosen: Chosen) -> Mapping[str, Curve]:
    """Arm -> its curve. Smaller sets are parts of larger ones; the whole set is the chosen training itself."""
    settings = work.recipe.curve
    if settings is None:
        return {}
    whole = {arm: trial for arm, trial in chosen.items() if arm.name in settings.arms}
    tried = {arm: _trials(ledger, trial, settings.sizes) for arm, trial in whole.items()}
    work.do([TrainAndTest(trial, arm) for arm, trials in tried.items() for trial in trials])
    left = work.recipe.curve.sizes if work.recipe.curve else ()  # by a budget
    curves = {}
    for arm, trials in tried.items():
        scored = [ledger.arm(trial) for trial in (*trials, whole[arm]) if trial.examples in (None, *left)]
        for trial in trials:
            shutil.rmtree(ledger.weights(trial), ignore_errors=True)
        curves[arm.name] = [(each.record.examples or 0, each) for each in scored]
    return curves


def _trials(ledger: Ledger, whole: Trial, sizes: Sequence[int]) -> list[Trial]:
    """One training per size below the whole set, at the chosen rate with the first seed."""
    rows = ledger.trial(whole).examples
    return [replace(whole, examples=size) for size in sorted(sizes) if size < rows]
