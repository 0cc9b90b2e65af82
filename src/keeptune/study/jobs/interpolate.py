"""The way between the base and a tuned model, point by point."""

from __future__ import annotations

from dataclasses import dataclass

from keeptune.core.records import write_json
from keeptune.inference.score import row_nats
from keeptune.methods.base import weight_delta
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.search import ALPHAS
from keeptune.study.baseline import score_on_validation
from keeptune.study.jobs.base import Unplanned
from keeptune.study.jobs.train import loaded
from keeptune.study.records import SweepPoint, SweepRecord
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.trial import Trial
from keeptune.study.workplace import Workplace
from keeptune.train.drift import drift


@dataclass(frozen=True)
class Interpolate(Unplanned):
    """Score the points between the base and a training's model on validation items; no training. Leaves sweep.json."""

    trial: Trial

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"{self.trial.name}, interpolation"

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """Every point but the last is scored."""
        return estimates.interpolation

    def perform(self, workplace: Workplace) -> bool:
        """Score the points, unless that was done."""
        trial, ledger, lm, baseline = self.trial, workplace.ledger, workplace.lm, workplace.baseline
        if ledger.has_sweep(trial):
            return False
        done = ledger.trial(trial)
        rows = workplace.data.rows(trial.seed, trial.examples).validation
        points = []
        for alpha in ALPHAS[:-1]:  # the last is the training's own model
            with loaded(lm, ledger, trial) as method:
                weight_delta(method).blend(lm.model, alpha)
                points.append(
                    SweepPoint(
                        alpha=alpha,
                        validation=score_on_validation(workplace.scorer, baseline),
                        row_losses=tuple(row_nats(lm, rows)),
                        drift=drift(lm, method, baseline.drift),
                    )
                )
        last = SweepPoint(alpha=1.0, validation=done.validation, row_losses=done.row_losses, drift=done.drift)
        record = SweepRecord(key=ledger.trial_key(trial), points=(*points, last))
        if ledger.writes:
            write_json(ledger.trial_folder(trial) / "sweep.json", record)
        workplace.messages.say(f"{trial.name}: {len(ALPHAS)} points between base and tuned model scored on validation")
        return True
