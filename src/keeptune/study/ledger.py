"""Where a study's results are, under which keys, and which of them are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keeptune.core.units import content_hash
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.study.records import (
    ScoredArm,
    SweepRecord,
    TrialRecord,
    finished,
    finished_arm,
    required,
)
from keeptune.study.trial import Trial
from keeptune.train.remedies.base import Need


@dataclass(frozen=True)
class Ledger:
    """The books of one study.

    A key is a content hash of everything that a result depends on. A result that lies in the run's folder under its
    key is read and not made again.
    """

    folder: Path
    config: StudyConfig
    identity: Sequence[Any]  # what every training depends on: version, model, precision, data, validation items
    asked: Sequence[Any]  # what test scores depend on beside that
    margins: Sequence[float | None]  # of the retained suites
    targets: Sequence[str]
    suites: Sequence[str]
    extras: Sequence[str]
    writes: bool = True  # False in a process that only helps to train what another one enters
    rehearsal: Mapping[Need, Any] = field(default_factory=dict)  # content of the rows that are of no task, by need
    measured: Mapping[str, float] | None = None  # suite that can lose something -> its margin; None: not known yet

    def at_margins(self, margins: Mapping[str, float]) -> Ledger:
        """The same books once the base is measured. Records hold the margins of their day; what is read has these."""
        return replace(self, measured=margins)

    def key(self, *parts: Any) -> str:
        """Of what depends on ``parts`` and on what every training depends on."""
        return content_hash([*self.identity, *parts])

    def test_key(self, *parts: Any) -> str:
        """Of test scores: more to ask does not mean to train again."""
        return self.key(self.asked, *parts)

    def trial_key(self, trial: Trial) -> str:
        """Of a training and its validation."""
        arm, config = trial.arm, self.config
        return self.key(
            arm.settings(),
            self.drawn_on(arm),
            config.mixture.model_dump(mode="json") if config.mixture else None,
            list(self.margins) if arm.needs(Need.MARGINS) or config.checkpoints else None,  # they decide the best one
            trial.lr,
            trial.seed,
            trial.examples,
            config.train.times(trial.longer).digest(),
            config.checkpoints,
        )

    def drawn_on(self, arm: Arm) -> list[Any]:
        """Content of the rows that are of no task and that an arm's remedies may draw on."""
        return [content for need, content in self.rehearsal.items() if arm.needs(need)]

    def trial_folder(self, trial: Trial) -> Path:
        """Where a training leaves its records and weights."""
        return self.folder / "arms" / trial.name

    def weights(self, trial: Trial) -> Path:
        """The folder of a training's weights."""
        return self.trial_folder(trial) / trial.arm.method.build().artifact

    def trial(self, trial: Trial) -> TrialRecord:
        """The record of a training that is done."""
        record = required(self.trial_folder(trial) / "trial.json", TrialRecord, self.trial_key(trial))
        return record if self.measured is None else record.at_margins(self.measured)

    def has_trial(self, trial: Trial) -> bool:
        """Whether a training is done, and was scored on the suites that can lose something."""
        record = finished(self.trial_folder(trial) / "trial.json", TrialRecord, self.trial_key(trial))
        if record is None or self.measured is None:
            return record is not None
        return [suite.suite for suite in record.validation.suites] == list(self.measured)

    def sweep(self, trial: Trial) -> SweepRecord:
        """The points between the base and a training's model, where they were scored."""
        record = required(self.trial_folder(trial) / "sweep.json", SweepRecord, self.trial_key(trial))
        return record if self.measured is None else record.at_margins(self.measured)

    def has_sweep(self, trial: Trial) -> bool:
        """Whether these points were scored."""
        return finished(self.trial_folder(trial) / "sweep.json", SweepRecord, self.trial_key(trial)) is not None

    def arm_key(self, trial: Trial) -> str:
        """Of a training's test scores."""
        return self.test_key(self.trial_key(trial))

    def arm_folder(self, trial: Trial, alpha: float | None = None) -> Path:
        """Where a tested arm's records are: the training's folder, or one beside it for an interpolated model."""
        folder = self.trial_folder(trial)
        return folder if alpha is None else folder.with_name(f"{folder.name}-alpha{alpha:g}")

    def scored(self, trial: Trial, alpha: float | None = None) -> ScoredArm | None:
        """A training's model, or the point ``alpha`` on the way to it, if it was scored on test items."""
        return finished_arm(self.arm_folder(trial, alpha), self.arm_key(trial), self.targets, self.suites, self.extras)

    def arm(self, trial: Trial, alpha: float | None = None) -> ScoredArm:
        """The same, where it has to be there.

        Raises:
            RuntimeError: it was not scored.
        """
        arm = self.scored(trial, alpha)
        if arm is None:
            raise RuntimeError(f"{trial.name} was not scored on test items")
        return arm

    def prompting_key(self, shots: int) -> str:
        """Of the base's answers with so many demonstrations."""
        return self.test_key("prompt", shots, self.config.prompt.draws)
