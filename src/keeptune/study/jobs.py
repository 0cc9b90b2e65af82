"""The pieces of work of a study. Each finds on disk what it needs and leaves on disk what it made, so any process may
do any of them: one that was done before is not done again, one that was interrupted starts again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from keeptune.core.records import Part
from keeptune.evaluate.runner import Wording
from keeptune.study.spec import ArmSpec
from keeptune.study.trials import Trial, run_trial, score_on_test, scored, sweep

if TYPE_CHECKING:
    from keeptune.study.bench import Bench


class Job(Protocol):
    """Small enough to be sent to another process."""

    @property
    def name(self) -> str:
        """As progress shows it."""
        ...

    def perform(self, bench: Bench) -> bool:
        """Do it, unless its result is there: then it says False."""
        ...


@dataclass(frozen=True)
class Ask:
    """Scores of the base on a part of a task; they go into the cache of base scores."""

    task: str
    part: Part
    shots: int = 0
    draw: int = 0
    wording: Wording = "fixed"

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"base on {self.task}, {self.part}" + (f", {self.shots}-shot" if self.shots else "")

    def perform(self, bench: Bench) -> bool:
        """Score the base."""
        bench.evaluate(self.task, self.part, shots=self.shots, draw=self.draw, wording=self.wording)
        return True


@dataclass(frozen=True)
class Train:
    """One training, scored on validation parts: `trials.run_trial`."""

    trial: Trial
    weights: bool = False  # are needed: where they were deleted they are made again

    @property
    def name(self) -> str:
        """As progress shows it."""
        return self.trial.name

    def perform(self, bench: Bench) -> bool:
        """Train and score."""
        return run_trial(bench, self.trial, weights=self.weights)


@dataclass(frozen=True)
class TrainAndTest:
    """A point of a learning curve: a training that chooses nothing is scored on the test parts at once."""

    trial: Trial
    spec: ArmSpec  # the arm that it stands for

    @property
    def name(self) -> str:
        """As progress shows it."""
        return self.trial.name

    def perform(self, bench: Bench) -> bool:
        """Train and score."""
        if scored(bench, self.trial):
            return False
        run_trial(bench, self.trial, weights=True)
        return score_on_test(bench, self.trial, self.spec)


@dataclass(frozen=True)
class Sweep:
    """The points between the base and a trial's model, on validation parts: `trials.sweep`."""

    trial: Trial

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"{self.trial.name}, interpolation"

    def perform(self, bench: Bench) -> bool:
        """Score the points."""
        return sweep(bench, self.trial)


@dataclass(frozen=True)
class ScoreTest:
    """A trial's model, or a point on the way to it, on the test parts: `trials.score_on_test`."""

    trial: Trial
    spec: ArmSpec  # the arm that it stands for
    alpha: float | None = None  # where it is interpolated

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"{self.trial.name}, test"

    def perform(self, bench: Bench) -> bool:
        """Score the model."""
        return score_on_test(bench, self.trial, self.spec, self.alpha)
