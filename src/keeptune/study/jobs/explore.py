"""A training of a search, and the points on the way to it."""

from __future__ import annotations

from dataclasses import dataclass

from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Amount
from keeptune.study.jobs.interpolate import Interpolate
from keeptune.study.jobs.train import Train
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.trial import Trial
from keeptune.study.workplace import Workplace


@dataclass(frozen=True)
class Explore:
    """Train, then score the points between base and model, if the method has such; leaves what both leave."""

    trial: Trial
    number: int  # among the trainings of the search, from 1
    weights: bool = False  # are needed: where they were deleted they are made again

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"search {self.number}: {self.trial.name}"

    @property
    def amount(self) -> Amount:
        """A training, unless it is made again."""
        return Amount(trainings=not self.weights)

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """Training, validation and the points."""
        training = estimates.training(config, self.trial.arm, self.trial.longer)
        return 0.0 if self.weights else training + estimates.interpolation

    def belongs_to(self, config: StudyConfig) -> bool:
        """Whether the search still has so many trainings."""
        return self.weights or (config.searches and self.number <= config.search.trainings)

    def perform(self, workplace: Workplace) -> bool:
        """Train and score, unless that was done."""
        trial, ledger = self.trial, workplace.ledger.at_margins(workplace.baseline.margins)
        swept = not trial.arm.method.weight_deltas or ledger.has_sweep(trial)
        there = not self.weights or ledger.weights(trial).is_dir()
        if there and swept and ledger.has_trial(trial):
            return False
        Train(trial, weights=True).perform(workplace)
        if trial.arm.method.weight_deltas:
            Interpolate(trial).perform(workplace)
        return True
