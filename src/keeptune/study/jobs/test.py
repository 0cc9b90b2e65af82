"""Test items: asked of what validation items chose, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from keeptune.core.files import saving
from keeptune.core.records import Drift, ItemRecord
from keeptune.evaluate.runner import Evaluation
from keeptune.methods.base import Method, weight_delta
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Amount, Unplanned
from keeptune.study.jobs.train import Train, loaded
from keeptune.study.prompting import request_costs
from keeptune.study.records import ArmRecord, ScoredArm, TrialRecord, save_arm
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.scorer import Scorer
from keeptune.study.trial import Trial
from keeptune.study.workplace import Workplace
from keeptune.train.drift import drift

Items = dict[str, tuple[ItemRecord, ...]]


@dataclass(frozen=True)
class ScoreTest(Unplanned):
    """A training's model, or a point on the way to it, on the test parts; leaves arm.json and every item."""

    trial: Trial
    arm: Arm  # that it stands for
    alpha: float | None = None  # where it is interpolated

    amount: ClassVar = Amount(tests=1)

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"{self.trial.name}, test"

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """Scoring one model on all test parts."""
        return estimates.test_seconds

    def perform(self, workplace: Workplace) -> bool:
        """Score the model, unless that was done."""
        trial, ledger, lm = self.trial, workplace.ledger, workplace.lm
        if ledger.scored(trial, self.alpha):
            workplace.messages.say(f"{trial.name}: scored before, skipped")
            return False
        folder = ledger.arm_folder(trial, self.alpha)
        moved, weights = ledger.trial(trial).drift, ledger.weights(trial)
        with loaded(lm, ledger, trial) as method:
            if self.alpha is not None:
                weight_delta(method).blend(lm.model, self.alpha)
                moved = drift(lm, method, workplace.baseline.drift)
                weights = folder / method.artifact
                if ledger.writes:
                    _save(lm, method, weights)
            target, suites, extras = _answers(workplace.scorer)
        arm = ScoredArm(
            self._record(workplace, target, moved, weights),
            folder,
            {task: run.items for task, run in target.items()},
            suites,
            extras,
        )
        if ledger.writes:
            save_arm(arm)
        return True

    def _record(
        self, workplace: Workplace, target: dict[str, Evaluation], moved: Drift | None, weights: Path
    ) -> ArmRecord:
        trial, ledger = self.trial, workplace.ledger
        done = ledger.trial(trial)
        costs = request_costs(list(target.values()), workplace.parameters)
        title = done.label if self.alpha is None else f"{done.label}, {100 * self.alpha:.0f} % of the way"
        return ArmRecord(
            key=ledger.arm_key(trial),
            name=ledger.arm_folder(trial, self.alpha).name,
            arm=self.arm.name,
            parts=self.arm.parts,
            title=title,
            label=f"{title}, lr {trial.lr:g}",
            family=self.arm.method.name,
            lr=trial.lr,
            seed=trial.seed,
            alpha=self.alpha,
            examples=done.examples,
            drift=moved,
            costs=done.costs.model_copy(
                update={
                    "tokens_per_request": costs.tokens_per_request,
                    "window_share": costs.window_share,
                    "seconds_per_request": costs.seconds_per_request,
                    "bytes_on_disk": sum(file.stat().st_size for file in weights.rglob("*") if file.is_file()),
                }
            ),
            note=_note(done),
        )


def _note(done: TrialRecord) -> str | None:
    """What has to be known of a training beside its scores."""
    if done.diverged:
        return "diverged"
    return f"{done.skipped} of {done.steps + done.skipped} steps skipped" if done.skipped else None


def _save(lm: LanguageModel, method: Method, weights: Path) -> None:
    """The weights of the model as it is now, in a folder of their own."""
    with saving(weights):
        method.save(lm.model, weights, lm.tokenizer)


def _answers(scorer: Scorer) -> tuple[dict[str, Evaluation], Items, Items]:
    """The model on targets, retained suites and extra evaluations: test items."""
    target = {task: scorer.evaluate(task, "test") for task in scorer.targets}
    suites = {suite: scorer.evaluate(suite, "test").items for suite in scorer.suites}
    return target, suites, {extra.name: scorer.evaluate_extra(extra).items for extra in scorer.extras}


@dataclass(frozen=True)
class TrainAndTest:
    """A point of a learning curve: a training that chooses nothing is scored on the test parts at once."""

    trial: Trial
    arm: Arm  # that it stands for

    amount: ClassVar = Amount(trainings=1, tests=1)

    @property
    def name(self) -> str:
        """As progress shows it."""
        return self.trial.name

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """A training and its test."""
        return estimates.training(config, self.arm) + estimates.test_seconds

    def belongs_to(self, config: StudyConfig) -> bool:
        """Whether the curve still has its size."""
        return config.curve is not None and self.trial.examples in config.curve.sizes

    def perform(self, workplace: Workplace) -> bool:
        """Train and score, unless that was done."""
        if workplace.ledger.scored(self.trial):
            return False
        Train(self.trial, weights=True).perform(workplace)
        return ScoreTest(self.trial, self.arm).perform(workplace)
