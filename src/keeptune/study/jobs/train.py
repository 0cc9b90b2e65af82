"""One training of one arm: trained, and scored on validation items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keeptune.core.errors import ConfigError
from keeptune.core.files import sync_all
from keeptune.core.records import Costs, StepRecord, ValidationRecord, write_json
from keeptune.inference.score import row_nats
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.config import StudyConfig
from keeptune.study.baseline import Baseline, score_on_validation
from keeptune.study.jobs.base import Amount
from keeptune.study.ledger import Ledger
from keeptune.study.records import Checkpoint, TrialRecord, ValidationScores
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.scorer import Scorer
from keeptune.study.trial import Trial
from keeptune.study.trouble import hardest
from keeptune.study.workplace import Workplace
from keeptune.tracking.base import Callback, Run
from keeptune.tracking.console import Progress
from keeptune.train.checkpoints.keeper import discard
from keeptune.train.drift import drift
from keeptune.train.loop import fit
from keeptune.train.tally import FitResult


@dataclass(frozen=True)
class Train:
    """Train an arm, score its best checkpoint on validation items; leaves trial.json and the weights."""

    trial: Trial
    weights: bool = False  # are needed: where they were deleted they are made again

    @property
    def name(self) -> str:
        """As progress shows it."""
        return self.trial.name

    @property
    def amount(self) -> Amount:
        """A training, unless it is made again."""
        return Amount(trainings=not self.weights)

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """One training and its validation; what has to be done again is not planned."""
        return 0.0 if self.weights else estimates.training(config, self.trial.arm, self.trial.longer)

    def belongs_to(self, config: StudyConfig) -> bool:
        """Whether the recipe still has its seed, its rate and its arm."""
        trial = self.trial
        if self.weights:
            return True
        if trial.seed != config.seeds[0]:
            return trial.seed in config.seeds
        return trial.lr in config.learning_rates(trial.arm) and trial.arm in {a.trained for a in config.training_arms}

    def perform(self, workplace: Workplace) -> bool:
        """Train and score, unless that was done."""
        trial, ledger = self.trial, workplace.ledger.at_margins(workplace.baseline.margins)
        folder = ledger.trial_folder(trial)
        there = not self.weights or ledger.weights(trial).is_dir()
        if there and ledger.has_trial(trial):
            workplace.messages.say(f"{trial.name}: trained before, skipped")
            return False
        if ledger.writes:
            for record in ("trial.json", "arm.json", "sweep.json"):
                (folder / record).unlink(missing_ok=True)
        done = _train(workplace, trial)
        if ledger.writes:
            write_json(folder / "trial.json", done)
            sync_all(ledger.weights(trial), folder / "trial.json")  # from now on they are all there is
            discard(folder)
        workplace.world.wait()  # whatever comes next, in this job too, reads the record
        workplace.messages.say(f"{trial.name}: target {100 * done.validation.score:.1f} on validation")
        return True


def _train(workplace: Workplace, trial: Trial) -> TrialRecord:
    """The training's record; its weights are in its folder, and the model is the base again."""
    config, ledger, lm, baseline = workplace.config, workplace.ledger, workplace.lm, workplace.baseline
    train, rows = config.train.times(trial.longer), workplace.data.rows(trial.seed, trial.examples, trial.longer)
    watch = _Watch(workplace.scorer, baseline, checkpoints=config.checkpoints)
    method, remedies = trial.arm.build(workplace.rehearsal.inputs(trial.seed, watch.within_margins))
    result = fit(
        lm,
        method,
        rows.train,
        rows.validation,
        train,
        ledger.trial_folder(trial),
        lr=trial.lr,
        seed=trial.seed,
        hooks=[Progress(workplace.messages.console, trial.name), watch, *workplace.trackers],
        remedies=remedies,
        order=rows.order,
        name=trial.arm.name,
        tier=watch.tier if config.checkpoints and baseline.skills else None,
        memory=workplace.microbatches,
        world=workplace.world,
        sharding=workplace.sharding,
        key=ledger.trial_key(trial),
    )
    try:
        losses = row_nats(lm, rows.validation)
        return TrialRecord(
            key=ledger.trial_key(trial),
            name=trial.name,
            arm=trial.arm.name,
            label=trial.arm.describe(remedies) + (f", {train.epochs} epochs" if trial.longer > 1 else ""),
            method=trial.arm.method.name,
            lr=trial.lr,
            seed=trial.seed,
            examples=len(rows.train),
            validation=score_on_validation(workplace.scorer, baseline),
            row_losses=tuple(losses),
            hardest=hardest(rows.validation, losses),
            validation_loss=result.best_loss,
            diverged=result.diverged,
            skipped=result.skipped,
            best_step=result.best_step,
            steps=result.steps,
            costs=_costs(lm, method, workplace.parameters, result),
            drift=drift(lm, method, baseline.drift),
            checkpoints=tuple(watch.points),
        )
    finally:
        lm.restore(method)


class _Watch(Callback):
    """Scores the model whenever it is validated: for the frontier, and for a guard. Scores once for both.

    Points of the frontier are its state (see `Stateful`).
    """

    def __init__(self, scorer: Scorer, baseline: Baseline, *, checkpoints: bool) -> None:
        self.scorer, self.baseline, self.checkpoints = scorer, baseline, checkpoints
        self.points: list[Checkpoint] = []
        self._scores: ValidationScores | None = None  # of the model as it is now

    def after_step(self, run: Run, record: StepRecord) -> None:
        """What was seen before the step no longer holds."""
        self._scores = None

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """Note a point of the frontier; the last step is the trial's own."""
        if not self.checkpoints or record.step in (0, run.steps):
            return
        moved = drift(run.lm, run.method, self.baseline.drift)
        self.points.append(
            Checkpoint(step=record.step, validation_loss=record.loss, validation=self._scored(), drift=moved)
        )

    def tier(self) -> int:
        """How well the model as it is now keeps the suites."""
        return self._scored().tier

    def within_margins(self, lm: LanguageModel) -> bool:
        """No retained suite lost more than its margin, on validation items."""
        return self._scored().tier < 2

    def state_dict(self) -> dict[str, Any]:
        """The points so far."""
        return {"points": [point.model_dump(mode="json") for point in self.points]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with these points."""
        self.points = [Checkpoint.model_validate(point) for point in state["points"]]

    def _scored(self) -> ValidationScores:
        if self._scores is None:
            self._scores = score_on_validation(self.scorer, self.baseline)
        return self._scores


def _costs(lm: LanguageModel, method: Method, parameters: int, result: FitResult) -> Costs:
    return Costs(
        trainable_parameters=sum(p.numel() for p in method.trainable(lm.model).values()),
        total_parameters=parameters,
        peak_memory_bytes=result.peak_memory_bytes,
        train_seconds=result.seconds,
        tokens_per_second=result.tokens_per_second,
        train_tokens=result.tokens,
        trained_tokens=result.trained_tokens,
    )


@contextmanager
def loaded(lm: LanguageModel, ledger: Ledger, trial: Trial) -> Iterator[Method]:
    """The model holding a training's checkpoint; the base again afterwards.

    Raises:
        ConfigError: the weights are gone.
    """
    weights = ledger.weights(trial)
    if not weights.is_dir():
        raise ConfigError(
            f"the weights of {trial.name} are gone",
            where=str(weights),
            remedy=f"delete {ledger.trial_folder(trial)} and run the study again",
        )
    method = trial.arm.method.build()
    lm.adapt(method)
    try:
        method.load(lm.model, weights)
        yield method
    finally:
        lm.restore(method)
